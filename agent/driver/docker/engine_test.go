package docker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/agent/driver/docker/enginetest"
)

// The images of the tests: busybox, a VNC server that only greets, and pages.
const (
	shellImage  = "streamspace-test/shell:1"
	screenImage = "streamspace-test/screen:1"
	pagesImage  = "streamspace-test/pages:1"
)

// engine is a private Docker engine for all tests of this process.
type engine struct {
	*enginetest.Engine
	host   string
	client *client.Client
}

// TestMain stops the engine that a test has started.
func TestMain(m *testing.M) {
	status := m.Run()
	if started, err := theEngine(); err == nil {
		if err := started.Stop(); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "stop the Docker engine:", err)
			status = 1
		}
	}
	os.Exit(status)
}

// theEngine starts the engine when it is first asked for.
var theEngine = sync.OnceValues(startEngine)

func need(t *testing.T) *engine {
	t.Helper()
	started, err := theEngine()
	if err == nil {
		return started
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("in CI there must be a Docker engine: %v", err)
	}
	t.Skipf("SKIPPED: no Docker engine can be started here: %v", err)
	return nil
}

func startEngine() (*engine, error) {
	started, err := enginetest.Start()
	if err != nil {
		return nil, err
	}
	made, err := client.New(client.WithHost(started.Host))
	if err == nil {
		err = importImages(started)
	}
	if err != nil {
		return nil, errors.Join(err, started.Stop())
	}
	return &engine{Engine: started, host: started.Host, client: made}, nil
}

func importImages(e *enginetest.Engine) error {
	ctx := context.Background()
	return errors.Join(e.ImportShell(ctx, shellImage), e.ImportProgram(ctx, screenImage, "./testdata/rfb"),
		e.ImportProgram(ctx, pagesImage, "../../../test/webapp/serve"))
}
