package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/tunnel/proxy"
)

// large is more than any buffer on the way.
const large = 160 << 20

// zeros are so many bytes that are nowhere in memory.
func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(into []byte) (int, error) { return len(into), nil }

func TestWebSockets(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	socket, answer, err := ws.Dial(t.Context(), w.front.URL+"/ws", &ws.DialOptions{HTTPHeader: http.Header{"Origin": {w.front.URL}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.CloseNow() }()
	if policy := answer.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors") {
		t.Errorf("the upgrade's answer was not looked through: %q", policy)
	}
	for _, said := range []string{"hello", strings.Repeat("x", 20_000)} {
		if err := socket.Write(t.Context(), ws.MessageText, []byte(said)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := socket.Read(t.Context()); err != nil || string(got) != "desk: "+said {
			t.Errorf("%d bytes come back as %d, %v", len(said), len(got), err)
		}
	}
	// It ends with its tunnel.
	w.cut()
	if _, _, err := socket.Read(t.Context()); err == nil {
		t.Error("the WebSocket outlives its tunnel")
	}
}

func TestEventsComeAtOnce(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	answer := w.do(http.MethodGet, "/events", nil)
	lines := bufio.NewScanner(answer.Body)
	for i := 0; i < 3; {
		if !lines.Scan() {
			t.Fatalf("the stream ends after %d events: %v", i, lines.Err())
		}
		if lines.Text() == fmt.Sprintf("data: %d", i) {
			i++
		}
	}
	// The stream goes on; who gives it up ends it in the session.
	w.eventually("the app waits", func() bool { return w.app.Held.Load() == 1 })
	_ = answer.Body.Close()
	w.eventually("the app is let go", func() bool { return w.app.Held.Load() == 0 })
}

func TestARequestGivenUpEndsInTheSession(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, w.front.URL+"/hold", nil)
	over := make(chan error, 1)
	go func() {
		_, err := w.client.Do(request)
		over <- err
	}()
	w.eventually("the app waits", func() bool { return w.app.Held.Load() == 1 })
	cancel()
	if err := <-over; err == nil {
		t.Error("the request was answered")
	}
	w.eventually("the app is let go", func() bool { return w.app.Held.Load() == 0 })
}

func TestLargeBodiesPassBothWays(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	if seen := w.seen(http.MethodPost, "/seen", zeros(large)); seen.Bytes != large {
		t.Errorf("of an upload %d bytes arrive", seen.Bytes)
	}
	answer := w.do(http.MethodGet, fmt.Sprintf("/download?bytes=%d", large), nil)
	if n, err := io.Copy(io.Discard, answer.Body); n != large || err != nil || answer.ContentLength != large {
		t.Errorf("of a download %d bytes arrive, %d were said, %v", n, answer.ContentLength, err)
	}
}

// A viewer that does not read holds up itself alone, and the session's memory
// with it: nothing is stored in between.
func TestAViewerThatDoesNotReadDelaysNobody(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	for range 4 {
		_ = w.do(http.MethodGet, fmt.Sprintf("/download?bytes=%d", int64(1)<<40), nil) // its body is never read
	}
	for range 20 {
		if said := w.text(w.do(http.MethodGet, "/name", nil)); !strings.HasPrefix(said, "pages of desk") {
			t.Fatalf("the app says %q", said)
		}
	}
}

func TestConnectionsAreUsedAgainForTheSameTargetAlone(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	ask := func() { _ = w.text(w.do(http.MethodGet, "/name", nil)) }
	for range 30 {
		ask()
	}
	if opened := len(w.targets()); opened != 1 {
		t.Errorf("30 requests after each other took %d tunnels", opened)
	}
	for _, change := range []func(*tunnel.Target){
		func(target *tunnel.Target) { target.Epoch++ }, func(target *tunnel.Target) { target.Generation++ },
		func(target *tunnel.Target) { target.SessionID = "other" }, func(target *tunnel.Target) { target.SessionID = "desk" },
	} {
		var now tunnel.Target
		w.set(func(session *proxy.Session, _ *proxy.Place) {
			change(&session.Target)
			now = session.Target
		})
		before := len(w.targets())
		ask()
		opened := w.targets()[before:]
		if now.SessionID == "desk" && now.Generation == 2 && now.Epoch == 2 && len(opened) == 0 {
			continue // it went back to a target whose connection is kept
		}
		if len(opened) != 1 || opened[0] != now {
			t.Errorf("a request to %+v went by %+v", now, opened)
		}
	}
	// A connection that has ended meanwhile is not taken.
	w.cut()
	if said := w.text(w.do(http.MethodGet, "/name", nil)); !strings.HasPrefix(said, "pages of") {
		t.Errorf("after the tunnels were cut the app says %q", said)
	}
}

func TestRequestsOfASessionAreBounded(t *testing.T) {
	w := newWorld(t, proxy.Options{MaxRequests: 2})
	first, second := w.do(http.MethodGet, "/events", nil), w.do(http.MethodGet, "/events", nil)
	if answer := w.do(http.MethodGet, "/name", nil); w.text(answer) != string(models.CodeUnavailable)+"\n" {
		t.Errorf("a third one is answered with %s", answer.Status)
	}
	// Another session is not concerned.
	w.set(func(session *proxy.Session, _ *proxy.Place) { session.Target.SessionID = "other" })
	if answer := w.do(http.MethodGet, "/name", nil); answer.StatusCode != http.StatusOK {
		t.Errorf("another session answers %s", answer.Status)
	}
	w.set(func(session *proxy.Session, _ *proxy.Place) { session.Target.SessionID = "desk" })
	_, _ = first.Body.Close(), second.Body.Close()
	w.eventually("there is room again", func() bool { return w.do(http.MethodGet, "/name", nil).StatusCode == http.StatusOK })
}

func TestFailuresAreTold(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	w.mu.Lock()
	w.refuse = errGone
	w.mu.Unlock()
	if said := w.text(w.do(http.MethodGet, "/name", nil)); said != string(models.CodeAgentUnavailable)+"\n" {
		t.Errorf("without a tunnel it says %q", said)
	}
	// A session that speaks something else.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "RFB 003.008\n")
			_ = conn.Close()
		}
	}()
	w.mu.Lock()
	w.refuse, w.app1 = nil, listener.Addr().String()
	w.mu.Unlock()
	if said := w.text(w.do(http.MethodGet, "/name", nil)); said != string(models.CodeTunnelFailed)+"\n" {
		t.Errorf("of a session that speaks no HTTP it says %q", said)
	}
}

func TestTLSInTheSession(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	secure := httptest.NewTLSServer(w.app)
	defer secure.Close()
	w.dial(secure)
	w.set(func(session *proxy.Session, _ *proxy.Place) {
		session.TLS, session.Username, session.Password = true, "kasm_user", "pass:word"
	})
	seen := w.seen(http.MethodGet, "/seen", nil, "Authorization: Bearer the-app-is-told-another")
	if seen.Header.Get("Authorization") != "Basic a2FzbV91c2VyOnBhc3M6d29yZA==" {
		t.Errorf("the app gets %q", seen.Header.Get("Authorization"))
	}
	socket, _, err := ws.Dial(t.Context(), w.front.URL+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.CloseNow() }()
	if err := socket.Write(t.Context(), ws.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := socket.Read(t.Context()); err != nil || string(got) != "desk: hello" {
		t.Errorf("it says %q, %v", got, err)
	}
}

// Whatever a request calls its goal, it goes to the session, or nowhere.
func TestOnlyTheSessionIsReached(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	address := strings.TrimPrefix(w.front.URL, "http://")
	for request, want := range map[string]string{
		"GET http://127.0.0.1:1/seen HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n": `"App":"desk"`,
		"GET /seen HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n":                   `"App":"desk"`,
		"GET //127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n\r\n":                    "HTTP/1.1 ",
		"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n":         "HTTP/1.1 405",
		"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n":                               "HTTP/1.1 405",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n":                             "HTTP/1.1 ",
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, strings.Replace(request, "\r\n", "\r\nConnection: close\r\n", 1))
		got, err := io.ReadAll(conn)
		if !strings.Contains(string(got), want) || err != nil {
			t.Errorf("%q is answered with %q, %v", request, got, err)
		}
		_ = conn.Close()
	}
	for _, target := range w.targets() {
		if target.SessionID != "desk" {
			t.Errorf("a tunnel leads to %+v", target)
		}
	}
}

// script is a session that answers each request as told, on one connection after
// the other, and closes where the answers end.
func (w *world) script(connections ...[]string) {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for _, answers := range connections {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			requests := bufio.NewReader(conn)
			for _, answer := range answers {
				if request, err := http.ReadRequest(requests); err == nil {
					_, _ = io.Copy(io.Discard, request.Body)
					_, _ = io.WriteString(conn, answer)
				}
			}
			_ = conn.Close()
		}
	}()
	w.mu.Lock()
	w.app1 = listener.Addr().String()
	w.mu.Unlock()
}

func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// A session may close a connection that nobody uses, and whoever asks next does
// not notice.
func TestAConnectionThatTheSessionHasClosedIsReplaced(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	w.script([]string{ok("one")}, []string{"HTTP/1.1 102 Processing\r\n\r\n" + ok("two"), ok("three")})
	for _, want := range []string{"one", "two", "three"} {
		if said := w.text(w.do(http.MethodGet, "/", nil)); said != want {
			t.Errorf("it says %q, want %q", said, want)
		}
	}
	if opened := len(w.targets()); opened != 2 {
		t.Errorf("it took %d tunnels", opened)
	}
}

// What a session sends unasked is not taken for the answer to a later request.
func TestAnswersThatNobodyAskedForAreDropped(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	w.script([]string{ok("one") + ok("smuggled")}, []string{ok("two")})
	for _, want := range []string{"one", "two"} {
		if said := w.text(w.do(http.MethodGet, "/", nil)); said != want {
			t.Errorf("it says %q, want %q", said, want)
		}
	}
}

func TestAnswersThatAreNoneAreRefused(t *testing.T) {
	endless := "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 1000) + "Content-Length: 0\r\n\r\n"
	for name, answer := range map[string]string{
		"a header without end": endless, "another protocol": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + ok("x"),
		"half a header": "HTTP/1.1 200 OK\r\nContent-Le",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			w := newWorld(t, proxy.Options{})
			w.script([]string{answer})
			if said := w.text(w.do(method, "/", nil)); said != string(models.CodeTunnelFailed)+"\n" {
				t.Errorf("%s: %s says %.100q", name, method, said)
			}
		}
	}
}

func TestConnectionsThatNobodyUsesAreClosed(t *testing.T) {
	w := newWorld(t, proxy.Options{Idle: 20 * time.Millisecond})
	_ = w.text(w.do(http.MethodGet, "/name", nil))
	w.eventually("the connection is closed", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		_, err := w.conns[0].Write(nil)
		return err != nil
	})
	if said := w.text(w.do(http.MethodGet, "/name", nil)); !strings.HasPrefix(said, "pages of desk") || len(w.targets()) != 2 {
		t.Errorf("then the app says %q, by %d tunnels", said, len(w.targets()))
	}
}
