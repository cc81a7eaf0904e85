package tunnel_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/wire"
)

func TestBytesPassBothWays(t *testing.T) {
	w := newWorld(t, tunnel.BrokerOptions{})
	w.join(echo(t))
	socket := w.view("one")
	if socket.Subprotocol() != "binary" {
		t.Errorf("the subprotocol is %q", socket.Subprotocol())
	}
	conn := ws.NetConn(t.Context(), socket, ws.MessageBinary)
	sent := make([]byte, 3<<20)
	_, _ = rand.Read(sent)
	var sending sync.WaitGroup
	sending.Go(func() {
		if _, err := conn.Write(sent); err != nil {
			t.Error(err)
		}
	})
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	sending.Wait()
	if !bytes.Equal(got, sent) {
		t.Error("the bytes have changed on the way")
	}
}

// What the viewer says together with the upgrade must not be lost.
func TestEarlyBytesArrive(t *testing.T) {
	w := newWorld(t, tunnel.BrokerOptions{})
	w.bring = func(asked wire.OpenTunnel) {
		conn, err := net.Dial("tcp", w.url.Host)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = fmt.Fprintf(conn, "GET %s?agent_id=agent&tunnel_id=%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\nearly",
			wire.TunnelPath, asked.TunnelID, wire.TunnelUpgrade)
		_, _ = io.Copy(io.Discard, conn)
	}
	stream, err := w.broker.Open(t.Context(), target("one"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	got := make([]byte, 5)
	if _, err := io.ReadFull(stream, got); err != nil || string(got) != "early" {
		t.Errorf("read %q, %v", got, err)
	}
}

// T1: each stream says its session's name over and over; a viewer must never
// read anything else.
func TestBytesNeverCrossSessions(t *testing.T) {
	w := newWorld(t, tunnel.BrokerOptions{})
	w.join(served(t, func(conn net.Conn, session string) {
		said := []byte(strings.Repeat(session+"|", 1000))
		for range 50 {
			if _, err := conn.Write(said); err != nil {
				return
			}
		}
	}))
	var viewing sync.WaitGroup
	for i := range 20 {
		session := fmt.Sprintf("session-%02d", i)
		socket := w.view(session)
		viewing.Go(func() {
			heard, err := io.ReadAll(ws.NetConn(t.Context(), socket, ws.MessageBinary))
			if err != nil {
				t.Error(err)
			}
			if rest := bytes.ReplaceAll(heard, []byte(session+"|"), nil); len(rest) > 0 || len(heard) != 50*1000*len(session+"|") {
				t.Errorf("%s: heard %d bytes, of which %d are not its own", session, len(heard), len(rest))
			}
		})
	}
	viewing.Wait()
}

// T2.
func TestTunnelsEndWithTheirTarget(t *testing.T) {
	for name, end := range map[string]func(*tunnel.Broker){
		"the session's generation": func(b *tunnel.Broker) { b.CloseSession("one", 2) },
		"the agent's connection":   func(b *tunnel.Broker) { b.CloseAgent("agent", 1) },
		"the control plane":        func(b *tunnel.Broker) { b.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tunnel.BrokerOptions{})
			w.join(echo(t))
			conn := ws.NetConn(t.Context(), w.view("one"), ws.MessageBinary)
			_, _ = conn.Write([]byte("x"))
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			w.broker.CloseSession("one", 1)
			w.broker.CloseSession("other", 9)
			w.broker.CloseAgent("agent", 0)
			w.broker.CloseAgent("other", 9)
			if w.broker.Tunnels() != 1 {
				t.Fatal("it ended with something that it does not belong to")
			}
			end(w.broker)
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("the stream goes on")
			}
		})
	}
}

// T3: one viewer never reads; another one's stream, on the same agent, goes on.
func TestAStalledViewerDelaysNobody(t *testing.T) {
	w := newWorld(t, tunnel.BrokerOptions{})
	endless := served(t, func(conn net.Conn, _ string) {
		said := make([]byte, 64<<10)
		for {
			if _, err := conn.Write(said); err != nil {
				return
			}
		}
	})
	echoing := echo(t)
	w.join(func(asked wire.OpenTunnel) net.Conn {
		if asked.SessionID == "stalled" {
			return endless(asked)
		}
		return echoing(asked)
	})
	w.view("stalled") // and never read
	conn := ws.NetConn(t.Context(), w.view("lively"), ws.MessageBinary)
	_ = conn.SetDeadline(time.Now().Add(patience))
	for range 200 {
		if _, err := conn.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
}

// T4: 10,000 opens and cancels, at whatever moment, leave nothing behind.
func TestOpensAndCancelsLeaveNothing(t *testing.T) {
	w := newWorld(t, tunnel.BrokerOptions{})
	w.join(echo(t))
	before := runtime.NumGoroutine()
	var opening sync.WaitGroup
	for worker := range 8 {
		opening.Go(func() {
			for i := range 1250 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*100*time.Microsecond+time.Duration(worker))
				if stream, err := w.broker.Open(ctx, target("one")); err == nil {
					_ = stream.Close()
				}
				cancel()
			}
		})
	}
	opening.Wait()
	eventually(t, "tunnels are gone", func() bool { return w.broker.Tunnels() == 0 })
	eventually(t, "goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+5 })
}

func TestOpenFails(t *testing.T) {
	t.Run("when the agent says why", func(t *testing.T) {
		w := newWorld(t, tunnel.BrokerOptions{})
		w.bring = func(asked wire.OpenTunnel) {
			w.broker.Failed("somebody else", wire.TunnelFailed{TunnelID: asked.TunnelID, Error: "not mine"})
			w.broker.Failed("agent", wire.TunnelFailed{TunnelID: asked.TunnelID, Error: "its screen is gone"})
			w.broker.Failed("agent", wire.TunnelFailed{TunnelID: asked.TunnelID, Error: "twice"})
		}
		_, err := w.broker.Open(t.Context(), target("one"))
		codeOf(t, err, models.CodeTunnelFailed)
		if err == nil || !strings.Contains(err.Error(), "its screen is gone") {
			t.Errorf("the reason is lost: %v", err)
		}
	})
	t.Run("when the agent does not answer", func(t *testing.T) {
		w := newWorld(t, tunnel.BrokerOptions{OpenWithin: 10 * time.Millisecond})
		_, err := w.broker.Open(t.Context(), target("one"))
		codeOf(t, err, models.CodeTunnelFailed)
	})
	t.Run("when the viewer leaves", func(t *testing.T) {
		w := newWorld(t, tunnel.BrokerOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		w.bring = func(wire.OpenTunnel) { cancel() }
		if _, err := w.broker.Open(ctx, target("one")); !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("on another connection of the agent", func(t *testing.T) {
		w := newWorld(t, tunnel.BrokerOptions{})
		w.epoch = 2
		_, err := w.broker.Open(t.Context(), target("one"))
		codeOf(t, err, models.CodeAgentUnavailable)
	})
	t.Run("when the session ends meanwhile", func(t *testing.T) {
		w := newWorld(t, tunnel.BrokerOptions{})
		w.bring = func(wire.OpenTunnel) { w.broker.CloseSession("one", 2) }
		_, err := w.broker.Open(t.Context(), target("one"))
		codeOf(t, err, models.CodeSessionNotRunning)
	})
	t.Run("when there are too many", func(t *testing.T) {
		w := newWorld(t, tunnel.BrokerOptions{MaxTunnels: 1})
		w.join(echo(t))
		stream, err := w.broker.Open(t.Context(), target("one"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.broker.Open(t.Context(), target("two"))
		codeOf(t, err, models.CodeUnavailable)
		_ = stream.Close()
		if stream, err = w.broker.Open(t.Context(), target("two")); err != nil {
			t.Fatal(err)
		}
		_ = stream.Close()
	})
	t.Run("after Stop", func(t *testing.T) {
		w := newWorld(t, tunnel.BrokerOptions{})
		w.broker.Stop()
		_, err := w.broker.Open(t.Context(), target("one"))
		codeOf(t, err, models.CodeUnavailable)
	})
}

func TestAgentIsRefused(t *testing.T) {
	w := newWorld(t, tunnel.BrokerOptions{})
	t.Run("without a wish", func(t *testing.T) {
		_, err := w.dial("unknown")
		codeOf(t, err, models.CodeTunnelFailed)
		if err == nil || !strings.Contains(err.Error(), "nobody waits") {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("another agent's tunnel", func(t *testing.T) {
		refusedFirst, dialled := make(chan error, 1), make(chan error, 1)
		echoing := echo(t)
		t.Cleanup(w.agents.Wait) // they use what echo's own cleanup waits for
		w.bring = func(asked wire.OpenTunnel) {
			_, err := tunnel.Dial(w.ctx, tunnel.DialOptions{Server: w.url, Key: "key", AgentID: "thief", TunnelID: asked.TunnelID})
			refusedFirst <- err
			conn, err := w.dial(asked.TunnelID)
			dialled <- err
			if err == nil {
				_ = tunnel.Join(w.ctx, echoing(asked), conn)
			}
		}
		stream, err := w.broker.Open(t.Context(), target("one"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = stream.Close() }()
		codeOf(t, <-refusedFirst, models.CodeTunnelFailed)
		if err := <-dialled; err != nil { // a stream that ends before is none for the agent
			t.Error(err)
		}
	})
	t.Run("without an upgrade", func(t *testing.T) {
		response, err := http.Get(w.server.URL + wire.TunnelPath + "?agent_id=agent&tunnel_id=x")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("the answer is %s", response.Status)
		}
	})
}

// The last that a session says arrives, although the viewer is still talking.
func TestTheEndArrives(t *testing.T) {
	w := newWorld(t, tunnel.BrokerOptions{})
	last := bytes.Repeat([]byte("farewell"), 10_000)
	w.join(served(t, func(conn net.Conn, _ string) {
		_, _ = io.ReadFull(conn, make([]byte, 1))
		_, _ = conn.Write(last)
	}))
	conn := ws.NetConn(t.Context(), w.view("one"), ws.MessageBinary)
	_, _ = conn.Write([]byte("typing, typing, typing"))
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, last) {
		t.Errorf("%d bytes of %d arrived, %v", len(got), len(last), err)
	}
}

func TestViewersSendBinaryMessages(t *testing.T) {
	w := newWorld(t, tunnel.BrokerOptions{})
	w.join(echo(t))
	socket := w.view("one")
	_ = socket.Write(t.Context(), ws.MessageText, []byte("text"))
	_, _, err := socket.Read(t.Context())
	if ws.CloseStatus(err) != ws.StatusUnsupportedData {
		t.Errorf("the end is %v", err)
	}
}

func TestJoinEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a, peerOfA := socketPair(t)
	b, peerOfB := socketPair(t)
	defer func() { _, _ = peerOfA.Close(), peerOfB.Close() }()
	ended := make(chan error, 1)
	go func() { ended <- tunnel.Join(ctx, a, b) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
