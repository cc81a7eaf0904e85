package stream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/bench/product"
	"github.com/streamspace/streamspace/bench/source"
)

const (
	agentID = "measured"
	// readyWithin bounds the start of this program in another role.
	readyWithin = 30 * time.Second
	// ready is what each role prints when it is.
	ready = "ready"
)

// template is a session that the socket agent connects with the source's socket
// of that name. The command is never run.
const template = `apiVersion: streamspace.io/v1
kind: Template
metadata: {name: %[1]s}
spec:
  displayName: Measured %[1]s
  protocol: terminal
  platforms: [process]
  process: {command: ["true"]}
`

// layout says where the parts of a system run.
type layout struct {
	// dir is the system's own, sockets the source's.
	dir, sockets string
	// listen is where the control plane serves, at any free port by default.
	listen string
	// viewerURL and agentURL are how viewers and the agent reach it; by default
	// as it says itself.
	viewerURL, agentURL string
	// inServer and inAgent place the two processes.
	inServer, inAgent func(processes.Command) processes.Command
	// http makes the viewers' requests; by default a client of its own.
	http *http.Client
}

// system is a whole control plane with one agent, both running, and a session
// for each of the source's sockets.
type system struct {
	plane       *product.ControlPlane
	agent       *processes.Process
	watcher     *product.Watcher
	echo, flood string
}

func startSystem(ctx context.Context, b *harness.Bench, where layout) (_ *system, err error) {
	dataDir := filepath.Join(where.dir, "server")
	templates := filepath.Join(dataDir, "templates")
	if err := os.MkdirAll(templates, 0o700); err != nil {
		return nil, fmt.Errorf("make the templates' directory: %w", err)
	}
	for _, name := range []string{source.Echo, source.Flood} {
		if err := os.WriteFile(filepath.Join(templates, name+".yaml"), fmt.Appendf(nil, template, name), 0o600); err != nil {
			return nil, fmt.Errorf("write a template: %w", err)
		}
	}
	s := &system{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	s.plane, err = product.StartServer(ctx, b.Processes, product.Options{Program: b.Program, DataDir: dataDir,
		Listen: where.listen, URL: where.viewerURL, In: where.inServer, HTTP: where.http})
	if err != nil {
		return nil, err
	}
	if err := s.startAgent(ctx, b, where); err != nil {
		return nil, err
	}
	if s.watcher, err = product.Watch(ctx, s.plane.API); err != nil {
		return nil, err
	}
	for name, id := range map[string]*string{source.Echo: &s.echo, source.Flood: &s.flood} {
		session, err := s.watcher.Launch(ctx, name)
		if err != nil {
			return nil, err
		}
		*id = session.ID
	}
	return s, nil
}

// startAgent gives the agent a key and waits until it is known.
func (s *system) startAgent(ctx context.Context, b *harness.Bench, where layout) error {
	key, err := s.plane.API.CreateAgentKey(ctx, agentID)
	if err != nil {
		return fmt.Errorf("make a key for the agent: %w", err)
	}
	keyFile := filepath.Join(where.dir, "agent.key")
	if err := os.WriteFile(keyFile, []byte(key.Key), 0o600); err != nil {
		return fmt.Errorf("write the agent's key: %w", err)
	}
	agentDir := filepath.Join(where.dir, "agent")
	if err := os.Mkdir(agentDir, 0o700); err != nil {
		return fmt.Errorf("make the agent's directory: %w", err)
	}
	server := where.agentURL
	if server == "" {
		server = s.plane.URL
	}
	command := b.Role("agent", "-server", server, "-id", agentID, "-key-file", keyFile, "-dir", agentDir, "-sockets", where.sockets)
	if where.inAgent != nil {
		command = where.inAgent(command)
	}
	s.agent, err = startRole(ctx, b, command)
	return err
}

// ways lead to the two sessions.
func (s *system) ways() ways {
	return ways{echo: productWay(s.plane, s.agent, s.echo), flood: productWay(s.plane, s.agent, s.flood)}
}

// close ends the system. Its sessions are sockets of the source, and end with
// their agent.
func (s *system) close() error {
	if s.watcher != nil {
		s.watcher.Close()
	}
	var errs []error
	if s.agent != nil {
		errs = append(errs, s.agent.Stop())
	}
	if s.plane != nil {
		errs = append(errs, s.plane.Stop())
	}
	return errors.Join(errs...)
}

// startRole runs this program in another role and waits until it is ready.
func startRole(ctx context.Context, b *harness.Bench, command processes.Command) (*processes.Process, error) {
	process, err := b.Processes.Start(command)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	_, err = process.Line(ctx, ready)
	return process, err
}
