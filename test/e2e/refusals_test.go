package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
	"github.com/streamspace/streamspace/wire"
)

// refusal is what the API says no with.
type refusal struct {
	Status int              `json:"status"`
	Code   models.ErrorCode `json:"code"`
	Detail string           `json:"detail"`
}

// call makes a plain HTTP request and reads a refusal.
func call(t *testing.T, method, address, token, body string, headers map[string]string) refusal {
	t.Helper()
	request, err := http.NewRequestWithContext(program.Limit(t), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if kind := response.Header.Get("Content-Type"); response.StatusCode >= 400 && !strings.HasPrefix(kind, "application/problem+json") {
		t.Errorf("%s %s answers %s as %q", method, address, response.Status, kind)
	}
	var said refusal
	if err := json.Unmarshal(content, &said); err != nil && response.StatusCode >= 400 {
		t.Errorf("%s %s answers %s with %q", method, address, response.Status, content)
	}
	if said.Status == 0 {
		said.Status = response.StatusCode
	}
	return said
}

// Everything that is refused is refused clearly, and a session that runs
// meanwhile is none the worse.
func TestBadInputIsRefusedAndNothingIsLost(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "data")
	up := program.StartUp(t, dataDir, "", "--ticket-life", "1s")
	api := up.API()
	token := strings.TrimSpace(readFile(t, filepath.Join(dataDir, "admin.token")))
	v1 := up.URL + "/api/v1"

	if _, err := api.Launch(program.Limit(t), client.LaunchRequest{ID: "survivor", Template: "terminal"}); err != nil {
		t.Fatal(err)
	}
	running(t, api, "survivor")
	survives := func(t *testing.T) {
		t.Helper()
		session, err := api.Session(program.Limit(t), "survivor")
		if err != nil || session.State != models.SessionRunning {
			t.Fatalf("the running session is now %s, %v", session.State, err)
		}
		stream, err := api.Stream(program.Limit(t), "survivor")
		if err != nil {
			t.Fatalf("the running session cannot be seen: %v", err)
		}
		_ = stream.Close()
	}

	for name, test := range map[string]struct {
		method, path, token, body string
		headers                   map[string]string
		want                      refusal
	}{
		"unknown template": {"POST", "/sessions", token, `{"template":"none"}`, nil,
			refusal{404, models.CodeTemplateUnknown, `"none"`}},
		"malformed JSON": {"POST", "/sessions", token, `{"template":`, nil,
			refusal{400, models.CodeInvalidRequest, "JSON"}},
		"no template": {"POST", "/sessions", token, `{}`, nil,
			refusal{400, models.CodeInvalidRequest, "template"}},
		"wrong token": {"GET", "/sessions", "wrong", "", nil,
			refusal{401, models.CodeUnauthenticated, "token"}},
		"no token": {"GET", "/sessions", "", "", nil,
			refusal{401, models.CodeUnauthenticated, "sign in"}},
		"id used by another request": {"POST", "/sessions", token, `{"id":"survivor","template":"desktop"}`, nil,
			refusal{409, models.CodeSessionConflict, "survivor"}},
		"foreign host": {"GET", "/sessions", token, "", map[string]string{"Host": "evil.example"},
			refusal{}},
		"unknown path": {"GET", "/nothing", token, "", nil,
			refusal{404, models.CodeNotFound, "openapi.json"}},
	} {
		if test.headers["Host"] != "" {
			continue // net/http sets Host elsewhere; see TestForeignOrigins
		}
		t.Run(name, func(t *testing.T) {
			got := call(t, test.method, v1+test.path, test.token, test.body, test.headers)
			if got.Status != test.want.Status || got.Code != test.want.Code || !strings.Contains(got.Detail, test.want.Detail) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			survives(t)
		})
	}

	stream := v1 + "/sessions/survivor/stream?ticket="
	upgrade := map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
	t.Run("reused ticket", func(t *testing.T) {
		ticket, err := api.Ticket(program.Limit(t), "survivor")
		if err != nil {
			t.Fatal(err)
		}
		first, err := api.StreamWith(program.Limit(t), "survivor", ticket.Ticket)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = first.Close() }()
		if got := call(t, "GET", stream+ticket.Ticket, "", "", upgrade); got.Code != models.CodeTicketUsed || got.Detail == "" {
			t.Errorf("got %+v", got)
		}
		survives(t)
	})
	t.Run("expired ticket", func(t *testing.T) {
		ticket, err := api.Ticket(program.Limit(t), "survivor")
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Until(ticket.ExpiresAt) + 50*time.Millisecond)
		if got := call(t, "GET", stream+ticket.Ticket, "", "", upgrade); got.Code != models.CodeTicketExpired || got.Detail == "" {
			t.Errorf("got %+v", got)
		}
		survives(t)
	})
	t.Run("foreign origin", func(t *testing.T) {
		ticket, err := api.Ticket(program.Limit(t), "survivor")
		if err != nil {
			t.Fatal(err)
		}
		foreign := map[string]string{"Origin": "https://evil.example"}
		for name, value := range upgrade {
			foreign[name] = value
		}
		if got := call(t, "GET", stream+ticket.Ticket, "", "", foreign); got.Status != 403 || got.Code != models.CodeOriginForeign {
			t.Errorf("got %+v", got)
		}
		// The attempt of another site uses nothing up.
		own, err := api.StreamWith(program.Limit(t), "survivor", ticket.Ticket)
		if err != nil {
			t.Fatalf("the ticket is worthless now: %v", err)
		}
		_ = own.Close()
		survives(t)
	})
	t.Run("foreign page with our cookie", func(t *testing.T) {
		if got := call(t, "DELETE", v1+"/sessions/survivor", "", "", map[string]string{
			"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Cookie": "streamspace=" + cookie(t, up.Login),
		}); got.Status != 403 || got.Code != models.CodeOriginForeign {
			t.Errorf("got %+v", got)
		}
		survives(t)
	})
	t.Run("login link used twice", func(t *testing.T) {
		if got := call(t, "GET", up.Login, "", "", nil); got.Code != models.CodeLinkInvalid {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("agents", func(t *testing.T) { agentRefusals(t, up, survives) })
	up.Stop()
}

// agentRefusals are what an agent must not say.
func agentRefusals(t *testing.T, up *program.Up, survives func(*testing.T)) {
	key, err := up.API().CreateAgentKey(program.Limit(t), "intruder")
	if err != nil {
		t.Fatal(err)
	}
	headers := map[string]string{wire.HeaderAgentKey: key.Key}
	if got := call(t, "POST", up.URL+wire.RegisterPath, "", `{"agentId":"intruder","platform":"process"}`, headers); got.Status != 201 {
		t.Fatalf("register: %+v", got)
	}
	if got := call(t, "POST", up.URL+wire.RegisterPath, "", `{"agentId":"local","platform":"process"}`, headers); got.Status != 403 {
		t.Errorf("an agent may register as another: %+v", got)
	}
	connect := func(t *testing.T) *ws.Conn {
		t.Helper()
		socket, _, err := ws.Dial(program.Limit(t), "ws"+strings.TrimPrefix(up.URL, "http")+wire.ConnectPath+"?agent_id=intruder",
			&ws.DialOptions{HTTPHeader: http.Header{wire.HeaderAgentKey: {key.Key}, wire.HeaderProtocol: {"1"}}})
		if err != nil {
			t.Fatal(err)
		}
		socket.SetReadLimit(wire.MaxFrame)
		t.Cleanup(func() { _ = socket.CloseNow() })
		if _, _, err := socket.Read(program.Limit(t)); err != nil { // welcome
			t.Fatal(err)
		}
		return socket
	}
	// say sends a frame and gives the answer, or how the connection ended.
	say := func(t *testing.T, socket *ws.Conn, frame []byte) (code models.ErrorCode, closed ws.StatusCode) {
		t.Helper()
		if err := socket.Write(program.Limit(t), ws.MessageText, frame); err != nil {
			return "", ws.CloseStatus(err)
		}
		for {
			_, answer, err := socket.Read(program.Limit(t))
			if err != nil {
				return code, ws.CloseStatus(err)
			}
			message, err := wire.Decode(answer)
			if err != nil {
				t.Fatal(err)
			}
			var said wire.ErrorFrame
			if message.Type == wire.TypeError && message.Into(&said) == nil {
				if code = said.Code; code != models.CodeFrameInvalid {
					return code, 0
				}
			}
		}
	}
	t.Run("oversized frame", func(t *testing.T) {
		socket := connect(t)
		huge := append([]byte(`{"type":"heartbeat","payload":{"status":"`), bytes.Repeat([]byte("x"), wire.MaxFrame)...)
		if _, closed := say(t, socket, append(huge, `"}}`...)); closed != ws.StatusMessageTooBig {
			t.Errorf("the connection ended with %v", closed)
		}
		survives(t)
	})
	t.Run("frame that is not JSON", func(t *testing.T) {
		code, closed := say(t, connect(t), []byte("hello"))
		if code != models.CodeFrameInvalid || closed != ws.StatusInvalidFramePayloadData {
			t.Errorf("answered %q, ended with %v", code, closed)
		}
		survives(t)
	})
	t.Run("unknown message type", func(t *testing.T) {
		socket := connect(t)
		if code, closed := say(t, socket, []byte(`{"type":"sing","payload":{}}`)); code != models.CodeMessageUnknown || closed != 0 {
			t.Errorf("answered %q, ended with %v", code, closed)
		}
		if code, closed := say(t, socket, []byte(`{"type":"dance"}`)); code != models.CodeMessageUnknown || closed != 0 {
			t.Errorf("the connection does not go on: answered %q, ended with %v", code, closed)
		}
		survives(t)
	})
	t.Run("about another agent's session", func(t *testing.T) {
		socket := connect(t)
		commands, err := up.API().SessionCommands(program.Limit(t), "survivor", client.Page{})
		if err != nil || len(commands.Items) == 0 {
			t.Fatal(commands, err)
		}
		for _, frame := range []string{
			`{"type":"status","payload":{"sessionId":"survivor","generation":1,"state":"terminated"}}`,
			`{"type":"status","payload":{"sessionId":"survivor","state":"failed"}}`,
			fmt.Sprintf(`{"type":"failed","payload":{"commandId":%q,"error":"no"}}`, commands.Items[0].CommandID),
			fmt.Sprintf(`{"type":"complete","payload":{"commandId":%q,"result":{"state":"terminated"}}}`, commands.Items[0].CommandID),
		} {
			if code, closed := say(t, socket, []byte(frame)); code != models.CodeForbidden || closed != 0 {
				t.Errorf("%s: answered %q, ended with %v", frame, code, closed)
			}
			survives(t)
		}
	})
	t.Run("wrong key", func(t *testing.T) {
		_, response, err := ws.Dial(program.Limit(t), "ws"+strings.TrimPrefix(up.URL, "http")+wire.ConnectPath+"?agent_id=local",
			&ws.DialOptions{HTTPHeader: http.Header{wire.HeaderAgentKey: {key.Key}}})
		if err == nil || response == nil || response.StatusCode != http.StatusForbidden {
			t.Errorf("another agent's key: %v, %v", response, err)
		}
		survives(t)
	})
}

// running waits until the session runs.
func running(t *testing.T, api *client.Client, id string) {
	t.Helper()
	program.Eventually(t, "session "+id+" runs", 30*time.Second, func() error {
		session, err := api.Session(context.Background(), id)
		if err == nil && session.State != models.SessionRunning {
			err = fmt.Errorf("it is %s %s", session.State, session.Reason)
		}
		return err
	})
}

// cookie follows a login link as a browser does.
func cookie(t *testing.T, link string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(program.Limit(t), http.MethodGet, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	for _, cookie := range response.Cookies() {
		if cookie.Name == "streamspace" {
			if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode {
				t.Errorf("the cookie is %v", cookie)
			}
			return cookie.Value
		}
	}
	t.Fatalf("the login link gives no cookie: %s", response.Status)
	return ""
}
