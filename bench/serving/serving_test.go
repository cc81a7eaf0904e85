package serving_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/bench/serving"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServeEndsWithItsContext(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- serving.Serve(ctx, listener, func(_ context.Context, conn net.Conn) {
			_, _ = conn.Write([]byte("x"))
			_, _ = io.Copy(io.Discard, conn) // for as long as the client likes
		})
	}()
	var conns []net.Conn
	for range 3 {
		conn, err := net.Dial("unix", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	for _, conn := range conns {
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("an open connection says %v", err)
		}
	}
	if _, err := net.Dial("unix", listener.Addr().String()); err == nil {
		t.Error("it still listens")
	}
}

func TestConnectionEndsWithItsHandler(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serving.Serve(ctx, listener, func(context.Context, net.Conn) {}) }()
	conn, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("reading says %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
