package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
)

const secretTicket = "sst_verysecret"

// echo is a control plane whose session sends back what it gets.
func echo(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "POST /api/v1/sessions/desk/tickets":
			writeJSON(w, http.StatusCreated, client.Ticket{Ticket: secretTicket})
		case "GET /api/v1/sessions/desk/stream":
			if r.URL.Query().Get("ticket") != secretTicket {
				writeProblem(w, http.StatusUnauthorized, models.CodeTicketInvalid)
				return
			}
			if _, sent := r.Header["Authorization"]; sent {
				t.Error("the token was sent to a stream")
			}
			socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"binary"}})
			if err != nil {
				t.Error(err)
				return
			}
			if socket.Subprotocol() != "binary" {
				t.Errorf("the subprotocol is %q", socket.Subprotocol())
			}
			conn := websocket.NetConn(r.Context(), socket, websocket.MessageBinary)
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		default:
			t.Errorf("%s was requested", r.URL)
		}
	}
}

func TestStreamCarriesBytesBothWays(t *testing.T) {
	stream, err := serve(t, echo(t)).Stream(t.Context(), "desk")
	must(t, err)
	defer func() { _ = stream.Close() }()
	must(t, stream.SetDeadline(time.Now().Add(patience)))
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB: more than a library's usual message limit
	written := make(chan error, 1)
	go func() {
		_, err := stream.Write(sent)
		written <- err
	}()
	got := make([]byte, len(sent))
	_, err = io.ReadFull(stream, got)
	must(t, err)
	must(t, <-written)
	if !bytes.Equal(got, sent) {
		t.Error("other bytes came back")
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := serve(t, echo(t)).Stream(ctx, "desk")
	must(t, err)
	defer func() { _ = stream.Close() }()
	ended := make(chan error, 1)
	go func() {
		_, err := stream.Read(make([]byte, 1))
		ended <- err
	}()
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a byte came from nowhere")
		}
	case <-time.After(patience):
		t.Error("the stream goes on")
	}
}

func TestStreamIsRefusedWithAProblem(t *testing.T) {
	for code, status := range map[models.ErrorCode]int{
		models.CodeTicketUsed: http.StatusUnauthorized, models.CodeSessionNotRunning: http.StatusConflict,
		models.CodeAgentUnavailable: http.StatusServiceUnavailable, models.CodeUnavailable: http.StatusServiceUnavailable,
	} {
		requests := &counter{}
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			requests.next()
			writeProblem(w, status, code)
		})
		_, err := c.StreamWith(t.Context(), "desk", secretTicket)
		if problem := problemOf(t, err); problem.Status != status || problem.Code != code {
			t.Errorf("the problem is %+v", problem)
		}
		if requests.count() != 1 {
			t.Errorf("%s: the ticket was sent %d times", code, requests.count())
		}
	}
}

func TestStreamNeedsATicket(t *testing.T) {
	c := serve(t, problem(http.StatusConflict, models.CodeSessionNotRunning))
	if _, err := c.Stream(t.Context(), "desk"); client.CodeOf(err) != models.CodeSessionNotRunning {
		t.Errorf("the error is %v", err)
	}
}

func TestStreamErrorsKeepTheTicketSecret(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	for name, address := range map[string]string{
		"nobody listens":           "http://" + closed.Addr().String(),
		"the connection breaks":    serverOf(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"another program answers":  serverOf(t, html(http.StatusOK)),
		"a proxy answers":          serverOf(t, html(http.StatusBadGateway)),
		"a wrong upgrade":          serverOf(t, switchTo("h2c")),
		"an upgrade without a key": serverOf(t, switchTo("websocket")),
		"a redirect in a circle": serverOf(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.String(), http.StatusTemporaryRedirect)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := clientOf(t, address, "ssp_test").StreamWith(t.Context(), "desk", secretTicket)
			if err == nil {
				t.Fatal("it opened")
			}
			for cause := err; cause != nil; cause = errors.Unwrap(cause) {
				if strings.Contains(cause.Error(), secretTicket) {
					t.Errorf("the error tells the ticket: %v", cause)
				}
			}
			if name == "nobody listens" && (!strings.Contains(err.Error(), "open the stream") || !strings.Contains(err.Error(), "is it running?")) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = clientOf(t, serverOf(t, echo(t)), "").StreamWith(ctx, "desk", secretTicket)
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), secretTicket) {
		t.Errorf("the error is %v", err)
	}
}

// switchTo upgrades to a protocol, wrongly, and hangs up.
func switchTo(protocol string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
		_ = conn.Close()
	}
}
