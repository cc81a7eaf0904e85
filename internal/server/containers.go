package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/agent/driver/docker"
	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/models"
)

const (
	// dockerAgent is the id of the agent beside the local one.
	dockerAgent = "local-docker"
	// engineAgain is the pause between looks for an engine, while there is none.
	engineAgain = 5 * time.Second
	// lookWithin bounds one look.
	lookWithin = 2 * time.Second
	// greetAfter is for how long a greeting waits for the agent that an engine was
	// found for.
	greetAfter = 5 * time.Second
)

// containers is the agent beside the local one that runs sessions as containers.
// It begins when there is a Docker engine, however late, and what goes wrong with
// it ends nothing else.
type containers struct {
	// found is what the first look came to, in words.
	found chan string
	ended chan struct{}
	// agent is nil until there is an engine.
	agent atomic.Pointer[machineAgent]
}

// startContainers looks for an engine until ctx ends, unless none is wanted.
func (s *Server) startContainers(ctx context.Context, configuration config.Up, version string, logger *slog.Logger) *containers {
	c := &containers{found: make(chan string, 1), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		defer close(c.found)
		for told := false; configuration.Docker != config.DockerOff; {
			address, err := lookForEngine(ctx, configuration.Docker)
			if err == nil {
				if err = s.runContainers(ctx, c, configuration, address, version, logger); err == nil {
					return
				}
			}
			if !told {
				c.found <- firstUpper(err.Error()) + "."
				told = true
			}
			logger.Debug("there is no Docker engine to use", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(engineAgain):
			}
		}
	}()
	return c
}

// runContainers runs the agent until ctx ends. An error means that it has not
// begun.
func (s *Server) runContainers(ctx context.Context, c *containers, configuration config.Up, address, version string, logger *slog.Logger) error {
	key, err := keepSecret(ctx, s.auth, configuration.DockerAgentKeyFile(), auth.Grant{Kind: models.TokenAgent, AgentID: dockerAgent, Label: "local Docker agent"})
	if err != nil {
		return err
	}
	dir := configuration.DockerAgentDir()
	if err := makeDir(dir); err != nil {
		return err
	}
	owner, err := ownName(filepath.Join(dir, "name"))
	if err != nil {
		return err
	}
	made, err := newMachineAgent(config.Agent{
		ID: dockerAgent, Platform: models.PlatformDocker, DockerHost: address, ContainersOf: owner, DataDir: dir,
		Region: configuration.Region, MaxSessions: configuration.MaxSessions, Labels: configuration.Labels, Allocatable: configuration.Allocatable,
	}, s.URL(), key, version, logger.With("agent", dockerAgent))
	if err != nil {
		return err
	}
	c.agent.Store(made)
	running := make(chan error, 1)
	go func() { running <- made.Run(ctx) }()
	select {
	case <-made.Ready():
	case <-ctx.Done():
	case <-time.After(greetAfter):
	}
	select {
	case c.found <- fmt.Sprintf("A Docker engine is at %s: agent %s runs sessions as its containers.", address, dockerAgent):
	default: // a later look
		logger.Warn("a Docker engine was found", "address", address, "agent", dockerAgent)
	}
	if err := <-running; !errors.Is(err, context.Canceled) {
		logger.Error("the Docker agent has ended", "error", err)
	}
	return nil
}

// lookForEngine gives the address of an engine of this machine that answers: the
// one that is wanted, or else the one that Docker's own client would use, or that
// of a user's own daemon.
func lookForEngine(ctx context.Context, wanted string) (address string, err error) {
	candidates := []string{wanted}
	if wanted == config.DockerAuto {
		candidates = engineAddresses(os.LookupEnv)
	}
	err = errors.New("no Docker engine was found, so sessions are programs of this machine")
	for _, candidate := range candidates {
		if path, local := strings.CutPrefix(candidate, "unix://"); local {
			if _, statErr := os.Stat(path); wanted == config.DockerAuto && errors.Is(statErr, fs.ErrNotExist) {
				continue
			}
		}
		within, cancel := context.WithTimeout(ctx, lookWithin)
		failed := docker.Answers(within, candidate)
		cancel()
		if failed == nil {
			return candidate, nil
		}
		var told *models.Error
		if errors.As(failed, &told) {
			failed = errors.New(told.Message)
		}
		err = failed
	}
	return "", err
}

// engineAddresses are where an engine of this machine may be. One that is
// elsewhere is not for this agent, which has to reach the containers' addresses.
func engineAddresses(lookup func(string) (string, bool)) []string {
	if host, set := lookup("DOCKER_HOST"); set && host != "" {
		if strings.HasPrefix(host, "unix://") {
			return []string{host}
		}
		return nil
	}
	addresses := []string{"unix:///var/run/docker.sock"}
	if dir, set := lookup("XDG_RUNTIME_DIR"); set && dir != "" {
		addresses = append(addresses, "unix://"+filepath.Join(dir, "docker.sock"))
	}
	if home, set := lookup("HOME"); set && home != "" {
		addresses = append(addresses, "unix://"+filepath.Join(home, ".docker", "run", "docker.sock"))
	}
	return addresses
}

// ownName gives what the containers' labels name as their agent: other control
// planes on this machine have an agent of the same id, on the same engine.
func ownName(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err == nil && len(content) > 0 {
		return string(content), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read a name: %w", err)
	}
	name := dockerAgent + "-" + strings.ToLower(rand.Text()[:10])
	if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
		return "", fmt.Errorf("write a name: %w", err)
	}
	return name, nil
}

// sessions counts what runs, as far as the engine answers.
func (c *containers) sessions(ctx context.Context) int {
	running := c.agent.Load()
	if running == nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	count, err := running.sessions(ctx)
	if err != nil {
		return 0
	}
	return count
}

// close gives back what the agent has, once c.ended is closed.
func (c *containers) close() error {
	running := c.agent.Load()
	if running == nil {
		return nil
	}
	return running.close()
}

func firstUpper(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
