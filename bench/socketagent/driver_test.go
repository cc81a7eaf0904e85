package socketagent

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/bench/source"
	"github.com/streamspace/streamspace/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func spec(template, session string, generation int64) driver.Spec {
	return driver.Spec{Ref: driver.Ref{SessionID: session, Generation: generation},
		Template: models.Template{Metadata: models.TemplateMetadata{Name: template}}}
}

func TestSessionsAreSockets(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ready, served := make(chan struct{}), make(chan error, 1)
	go func() { served <- source.Serve(ctx, dir, func() { close(ready) }) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	<-ready
	sessions := newSockets(dir)
	if _, err := sessions.Start(ctx, spec("absent", "one", 1)); err == nil {
		t.Error("a session runs without a socket")
	}
	wanted := spec(source.Echo, "one", 1)
	for range 2 { // the second time it is there
		if _, err := sessions.Start(ctx, wanted); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := sessions.Inventory(ctx); err != nil || len(all) != 1 || all[0].Ref != wanted.Ref {
		t.Errorf("the inventory is %v, %v", all, err)
	}
	conn, err := sessions.Dial(ctx, wanted.Ref)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := source.Greet(conn); err != nil {
		t.Fatal(err)
	}
	if err := source.Exchange(conn, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := sessions.Stop(ctx, driver.Ref{SessionID: "one", Generation: 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := sessions.Dial(ctx, wanted.Ref); models.CodeOf(err) != models.CodeSessionNotRunning {
		t.Errorf("a stopped session is dialled: %v", err)
	}
}

func TestExitsEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	exits, err := newSockets(t.TempDir()).Exits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if exit, open := <-exits; open {
		t.Errorf("%v ended", exit)
	}
}
