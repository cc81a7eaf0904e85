// Package socketagent is the product's own agent with sessions that are made
// for measuring: each is a socket that somebody else serves.
package socketagent

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/bench/source"
	"github.com/streamspace/streamspace/models"
)

// sockets is a driver whose sessions are the sockets of a source: a session of
// a template is the socket of the template's name. Safe for concurrent use.
type sockets struct {
	dir string

	mu      sync.Mutex
	running map[driver.Ref]driver.Runtime
	paths   map[driver.Ref]string
}

func newSockets(dir string) *sockets {
	return &sockets{dir: dir, running: map[driver.Ref]driver.Runtime{}, paths: map[driver.Ref]string{}}
}

// Platform implements driver.Driver. Templates know no other platform that
// needs nothing of the machine.
func (s *sockets) Platform() string { return models.PlatformProcess }

// Facilities implements driver.Driver: nothing is needed of the machine.
func (s *sockets) Facilities(_ context.Context, needs []string) ([]string, error) { return needs, nil }

// Start implements driver.Driver.
func (s *sockets) Start(_ context.Context, spec driver.Spec) (driver.Runtime, error) {
	path := source.Socket(s.dir, spec.Template.Metadata.Name)
	if _, err := os.Stat(path); err != nil {
		return driver.Runtime{}, fmt.Errorf("there is no socket for template %s: %w", spec.Template.Metadata.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	runtime, known := s.running[spec.Ref]
	if !known {
		runtime = driver.Runtime{Ref: spec.Ref, Protocol: spec.Template.Spec.Protocol, StartedAt: time.Now()}
		s.running[spec.Ref], s.paths[spec.Ref] = runtime, path
	}
	return runtime, nil
}

// Stop implements driver.Driver.
func (s *sockets) Stop(_ context.Context, ref driver.Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for known := range s.running {
		if known.SessionID == ref.SessionID && known.Generation <= ref.Generation {
			delete(s.running, known)
			delete(s.paths, known)
		}
	}
	return nil
}

// Inventory implements driver.Driver. Sessions end with the agent here.
func (s *sockets) Inventory(context.Context) ([]driver.Runtime, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []driver.Runtime
	for _, runtime := range s.running {
		all = append(all, runtime)
	}
	slices.SortFunc(all, func(a, b driver.Runtime) int { return cmp.Compare(a.SessionID, b.SessionID) })
	return all, nil
}

// Exits implements driver.Driver: no socket ends by itself.
func (s *sockets) Exits(ctx context.Context) (<-chan driver.Exit, error) {
	exits := make(chan driver.Exit)
	context.AfterFunc(ctx, func() { close(exits) })
	return exits, nil
}

// Dial implements driver.Driver.
func (s *sockets) Dial(ctx context.Context, ref driver.Ref) (net.Conn, error) {
	s.mu.Lock()
	path, known := s.paths[ref]
	s.mu.Unlock()
	if !known {
		return nil, models.Errorf(models.CodeSessionNotRunning, "session %s does not run here", ref.SessionID)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("dial the session: %w", err)
	}
	return conn, nil
}
