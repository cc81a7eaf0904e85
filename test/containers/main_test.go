// Package containers runs the real binary beside a real Docker engine, and kills
// both.
package containers

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver/docker/enginetest"
	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// soon bounds what a test waits for.
const soon = time.Minute

const (
	shellImage = "streamspace-test/shell:1"
	// template is a shell with a home that is kept.
	template = `apiVersion: streamspace.io/v1
kind: Template
metadata: {name: %s}
spec:
  displayName: Box
  platforms: [docker]
  protocol: terminal
  baseImage: ` + shellImage + `
  persistentHome: %v
  onLost: fail
  container: {command: [sh, -c, %q], pullPolicy: never}
`
)

// newEngine starts an engine with the image, for one test.
func newEngine(t *testing.T) *enginetest.Engine {
	t.Helper()
	e, err := enginetest.Start()
	if err == nil {
		t.Cleanup(func() {
			if err := e.Stop(); err != nil {
				t.Errorf("stop the Docker engine: %v", err)
			}
		})
		err = e.ImportShell(t.Context(), shellImage)
	}
	if err == nil {
		return e
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("in CI there must be a Docker engine: %v", err)
	}
	t.Skipf("SKIPPED: no Docker engine can be started here: %v", err)
	return nil
}

// machine is `streamspace up` on a machine with an engine, and its directory.
type machine struct {
	t       *testing.T
	dataDir string
	listen  string
	host    string
	*program.Program
	api *client.Client
	// found is what it says of the engine.
	found string
}

func newMachine(t *testing.T, host string) *machine {
	t.Helper()
	m := &machine{t: t, dataDir: t.TempDir(), host: host}
	program.Reap(t, m.dataDir)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.listen = listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(m.dataDir, "templates")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, one := range map[string]struct {
		keeps  bool
		script string
	}{
		"box":      {false, "exec sh"},
		"kept":     {true, "echo >> starts; exec sh"},
		"brief":    {false, "echo this is the end; exit 3"},
		"stubborn": {false, "trap '' TERM HUP INT; while :; do sleep 1; done"},
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(fmt.Sprintf(template, name, one.keeps, one.script)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.begin()
	return m
}

// begin starts the program, also again.
func (m *machine) begin(args ...string) {
	m.t.Helper()
	m.Program = program.Start(m.t, []string{"DOCKER_HOST=" + m.host},
		append([]string{"up", "--data-dir", m.dataDir, "--listen", m.listen, "--log-level", "info"}, args...)...)
	m.found = m.Line("Docker engine")
	m.Line("/login?token=")
	m.api = program.Admin(m.t, "http://"+m.listen, m.dataDir)
}

// awaitAgent waits until the agent of containers takes sessions.
func (m *machine) awaitAgent() {
	m.t.Helper()
	program.Eventually(m.t, "the agent of containers is there", soon, func() error {
		agent, err := m.api.Agent(program.Limit(m.t), "local-docker")
		if err == nil && agent.Status != models.AgentOnline {
			err = errors.New(agent.Status)
		}
		return err
	})
}

func (m *machine) launch(id, template string) {
	m.t.Helper()
	if _, err := m.api.Launch(program.Limit(m.t), client.LaunchRequest{ID: id, Template: template}); err != nil {
		m.t.Fatal(err)
	}
}

// await waits for the session's state, and gives it.
func (m *machine) await(id string, state models.SessionState) (session client.Session) {
	m.t.Helper()
	program.Eventually(m.t, fmt.Sprintf("session %s is %s", id, state), soon, func() error {
		var err error
		session, err = m.api.Session(program.Limit(m.t), id)
		if err == nil && session.State != state {
			err = fmt.Errorf("it is %s: %s", session.State, session.Reason)
		}
		return err
	})
	return session
}

func (m *machine) stopSession(id string) {
	m.t.Helper()
	if _, err := m.api.Stop(program.Limit(m.t), id); err != nil {
		m.t.Fatal(err)
	}
	m.await(id, models.SessionTerminated)
}

// left is what there is on the engine besides its own: containers, volumes and
// networks.
func left(e *enginetest.Engine) ([]string, error) {
	var all []string
	for _, ask := range [][]string{
		{"ps", "--all", "--format", "container {{.Names}} {{.Status}}"},
		{"volume", "ls", "--format", "volume {{.Name}}"},
		{"network", "ls", "--filter", "type=custom", "--format", "network {{.Name}}"},
	} {
		said, err := e.Docker(ask...)
		if err != nil {
			return nil, err
		}
		if said != "" {
			all = append(all, strings.Split(said, "\n")...)
		}
	}
	return all, nil
}

func (m *machine) eventuallyNothing(e *enginetest.Engine, but ...string) {
	m.t.Helper()
	program.Eventually(m.t, "nothing is left", soon, func() error {
		all, err := left(e)
		if err != nil {
			return err
		}
		for _, one := range all {
			kept := false
			for _, prefix := range but {
				kept = kept || strings.HasPrefix(one, prefix)
			}
			if !kept {
				return errors.New(strings.Join(all, "; "))
			}
		}
		return nil
	})
}
