package websockify_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/bench/source"
	"github.com/streamspace/streamspace/bench/websockify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBridge(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	ready, served := make(chan struct{}), make(chan error, 1)
	go func() { served <- source.Serve(ctx, dir, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	<-ready
	var owner processes.Owner
	t.Cleanup(func() {
		if err := owner.Stop(); err != nil {
			t.Error(err)
		}
	})
	bridge, err := websockify.ToUnix(ctx, &owner, source.Socket(dir, source.Echo))
	var missing *harness.MissingError
	if errors.As(err, &missing) && os.Getenv("CI") != "true" {
		t.Skip("SKIPPED:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn, err := bridge.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := source.Greet(conn); err != nil {
		t.Fatal(err)
	}
	if err := source.Exchange(conn, []byte("there and back")); err != nil {
		t.Fatal(err)
	}
	before, err := bridge.CPU()
	if err != nil {
		t.Fatal(err)
	}
	// The bridge makes a process for each connection, and that one works.
	for range 3000 {
		if err := source.Exchange(conn, []byte("there and back")); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := bridge.CPU(); err != nil || after <= before {
		t.Errorf("the bridge's processor time was %v and is %v, %v", before, after, err)
	}
}
