package socketagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"

	"github.com/streamspace/streamspace/agent"
)

// Config configures the agent. Every field is needed.
type Config struct {
	// Server is the control plane's base URL.
	Server string
	// ID names the agent, Key is the key that was made for it.
	ID, Key string
	// Dir is the agent's own directory, Sockets that of a source.
	Dir, Sockets string
	Logger       *slog.Logger
}

// Run runs the agent until ctx ends, and calls ready once the control plane can
// place sessions on it.
func Run(ctx context.Context, config Config, ready func()) error {
	server, err := url.Parse(config.Server)
	if err != nil {
		return fmt.Errorf("the server's address: %w", err)
	}
	made, err := agent.New(agent.Config{
		Server: server, Key: config.Key, AgentID: config.ID, Logger: config.Logger,
		JournalPath: filepath.Join(config.Dir, "journal"), Driver: newSockets(config.Sockets),
	})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		select {
		case <-made.Ready():
			ready()
		case <-running.Done():
		}
	}()
	err = made.Run(running)
	stop()
	<-waited
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
