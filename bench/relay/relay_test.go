package relay_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/bench/relay"
	"github.com/streamspace/streamspace/bench/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve relays to the target and gives the address to connect to.
func serve(t *testing.T, network, target string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- relay.Serve(ctx, listener, network, target) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestRelayCarriesBothWays(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	ready, served := make(chan struct{}), make(chan error, 1)
	go func() { served <- source.Serve(ctx, dir, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	<-ready
	conn := dial(t, serve(t, "tcp", serve(t, "unix", source.Socket(dir, source.Echo))))
	if err := source.Greet(conn); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := source.Exchange(conn, []byte("there and back")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNothingToRelayToEndsTheConnection(t *testing.T) {
	conn := dial(t, serve(t, "unix", filepath.Join(t.TempDir(), "absent")))
	if err := source.Greet(conn); err == nil {
		t.Error("a byte came from nowhere")
	}
}
