package source_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/bench/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t *testing.T, name string) net.Conn {
	t.Helper()
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
	select {
	case <-ready:
	case err := <-served:
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", source.Socket(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := source.Greet(conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestEcho(t *testing.T) {
	conn := dial(t, source.Echo)
	for _, message := range []string{"a", "second", strings.Repeat("long", 1000)} {
		if err := source.Exchange(conn, []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFloodSendsWhatIsAskedFor(t *testing.T) {
	conn := dial(t, source.Flood)
	for _, wanted := range []uint64{1, 64 << 10, 3_000_001} {
		if err := source.Ask(conn, wanted); err != nil {
			t.Fatal(err)
		}
		if err := source.Take(conn, wanted); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("there is a byte that nobody asked for")
	}
}

func TestClientTellsWhatIsWrong(t *testing.T) {
	if err := source.Greet(strings.NewReader("x")); err == nil {
		t.Error("a wrong greeting is taken")
	}
	if err := source.Take(strings.NewReader("four"), 5); err == nil {
		t.Error("a short answer is taken")
	}
	wrong := struct {
		io.Reader
		io.Writer
	}{strings.NewReader("no"), io.Discard}
	if err := source.Exchange(wrong, []byte("my")); err == nil {
		t.Error("another answer is taken")
	}
}
