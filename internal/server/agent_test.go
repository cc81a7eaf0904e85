package server_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/internal/server"
	"github.com/streamspace/streamspace/wire"
)

func TestAnAgentTellsItsProgramsVersion(t *testing.T) {
	registered := make(chan wire.Register, 1)
	plane := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body wire.Register
		if err := json.NewDecoder(r.Body).Decode(&body); err == nil && r.URL.Path == wire.RegisterPath {
			select {
			case registered <- body:
			default:
			}
		}
		w.WriteHeader(http.StatusForbidden) // it is not to do more
	}))
	defer plane.Close()
	c := config.NewAgent()
	c.Server, c.ID, c.Key, c.DataDir = plane.URL, "edge", "a key", filepath.Join(t.TempDir(), "agent")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.RunAgent(ctx, c, "v1.2.3", server.Streams{Out: io.Discard, Err: io.Discard}) }()
	select {
	case body := <-registered:
		if body.AgentID != "edge" || body.Metadata["version"] != "v1.2.3" {
			t.Errorf("registered %+v", body)
		}
	case err := <-ended:
		t.Fatalf("it ended with %v", err)
	case <-time.After(20 * time.Second):
		t.Error("it does not register")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("an end that was asked for is no error: %v", err)
	}
}
