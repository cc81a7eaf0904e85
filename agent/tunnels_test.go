package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// streams is a real socket for each dial of a session's stream; the session's
// ends come out of the channel.
func streams(t *testing.T, m *machine) <-chan net.Conn {
	t.Helper()
	listener, err := net.Listen("unix", t.TempDir()+"/stream")
	if err != nil {
		t.Fatal(err)
	}
	ends := make(chan net.Conn, 10)
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			ends <- conn
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-accepting
	})
	m.dialling = func(ctx context.Context, _ driver.Ref) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", listener.Addr().String())
	}
	return ends
}

// tunnel gives the control plane's and the session's end of a new tunnel.
func (l *link) tunnel(p *plane, sessions <-chan net.Conn, sessionID string, generation int64) (viewer, session net.Conn) {
	l.t.Helper()
	l.send(wire.TypeOpenTunnel, wire.OpenTunnel{TunnelID: "t-" + sessionID, SessionID: sessionID, Generation: generation})
	for viewer == nil || session == nil {
		select {
		case viewer = <-p.tunnels:
		case session = <-sessions:
		case <-time.After(soon):
			l.t.Fatal("the tunnel does not come")
		}
	}
	l.t.Cleanup(func() { _, _ = viewer.Close(), session.Close() })
	for _, conn := range []net.Conn{viewer, session} {
		if err := conn.SetDeadline(time.Now().Add(soon)); err != nil {
			l.t.Fatal(err)
		}
	}
	return viewer, session
}

func pass(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		t.Fatalf("%q arrived as %q, %v", text, got, err)
	}
}

func ends(t *testing.T, what string, conn net.Conn) {
	t.Helper()
	if _, err := io.ReadAll(conn); err != nil && errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s stays open", what)
	}
}

func TestATunnelJoinsBothEnds(t *testing.T) {
	p, m := newPlane(t), newMachine()
	sessions := streams(t, m)
	run(t, configure(t, p, m))
	l := p.link()
	viewer, session := l.tunnel(p, sessions, "s", 1)
	pass(t, viewer, session, "a key is pressed")
	pass(t, session, viewer, strings.Repeat("pixels", 1000))

	// A tunnel belongs to the control plane, which ends it if it wants to.
	_ = l.socket.CloseNow()
	p.link()
	pass(t, viewer, session, "still there")

	_ = viewer.Close()
	ends(t, "the session's end", session)
}

// T2.
func TestATunnelEndsWithItsSession(t *testing.T) {
	p, m := newPlane(t), newMachine()
	sessions := streams(t, m)
	run(t, configure(t, p, m))
	l := p.link()
	viewer, session := l.tunnel(p, sessions, "s", 1)
	newer, newerSession := l.tunnel(p, sessions, "s", 3)
	other, otherSession := l.tunnel(p, sessions, "t", 1)
	l.stop("c1", "s", 2)
	ends(t, "the session's end", session)
	ends(t, "the viewer's end", viewer)
	l.answered(1, "c1")
	for range 20 {
		pass(t, newer, newerSession, "another generation")
		pass(t, other, otherSession, "another session")
	}
}

func TestTunnelsEndWithTheAgent(t *testing.T) {
	p, m := newPlane(t), newMachine()
	sessions := streams(t, m)
	r := run(t, configure(t, p, m))
	l := p.link()
	viewer, session := l.tunnel(p, sessions, "s", 1)
	_ = r.stop()
	ends(t, "the session's end", session)
	ends(t, "the viewer's end", viewer)
}

func TestATunnelThatFailsSaysWhy(t *testing.T) {
	p, m := newPlane(t), newMachine()
	sessions := streams(t, m)
	dial := m.dialling
	m.dialling = func(ctx context.Context, ref driver.Ref) (net.Conn, error) {
		switch ref.SessionID {
		case "told":
			return nil, models.Errorf(models.CodeSessionNotRunning, "it does not run")
		case "untold":
			return nil, errors.New("dial /secret/path: no such file")
		}
		return dial(ctx, ref)
	}
	p.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == wire.TunnelPath && strings.HasSuffix(r.URL.Query().Get(wire.ParamTunnelID), "unwanted") {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"detail":"nobody waits for it"}`))
			return true
		}
		return false
	}
	config := configure(t, p, m)
	config.MaxTunnels = 1
	run(t, config)
	l := p.link()
	for i, test := range []struct{ session, words string }{
		{"told", "it does not run"},
		{"untold", "could not reach the session's stream"},
		{"unwanted", "nobody waits for it"},
		{"full", "takes no more"},
	} {
		if test.session == "full" {
			l.tunnel(p, sessions, "first", 1)
		}
		l.send(wire.TypeOpenTunnel, wire.OpenTunnel{TunnelID: "t-" + test.session, SessionID: test.session, Generation: 1})
		failed := into[wire.TunnelFailed](l, i+1, wire.TypeTunnelFailed)
		if failed.TunnelID != "t-"+test.session || !strings.Contains(failed.Error, test.words) || strings.Contains(failed.Error, "/secret") {
			t.Errorf("%s: %+v", test.session, failed)
		}
		drained(t, p, sessions, test.session)
	}
}

// drained checks that the end that could be dialled is not left open.
func drained(t *testing.T, p *plane, sessions <-chan net.Conn, session string) {
	t.Helper()
	for {
		select {
		case conn := <-p.tunnels:
			ends(t, fmt.Sprintf("%s: the viewer's end", session), conn)
		case conn := <-sessions:
			ends(t, fmt.Sprintf("%s: the session's end", session), conn)
		default:
			return
		}
	}
}
