package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	"github.com/streamspace/streamspace/agent"
	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/docker"
	"github.com/streamspace/streamspace/agent/driver/kubernetes"
	"github.com/streamspace/streamspace/agent/driver/process"
	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/models"
)

// The bounds of the wait for a Docker engine's first answer, and of that until
// what there is in a cluster has been seen.
const (
	engineWithin  = 10 * time.Second
	clusterWithin = time.Minute
)

// machineAgent is an agent that runs sessions on this machine.
type machineAgent struct {
	*agent.Agent
	driver driver.Driver
	lock   *lock
}

// newMachineAgent takes the agent's directory and makes the agent of a program
// with this version.
func newMachineAgent(configuration config.Agent, server *url.URL, key, version string, logger *slog.Logger) (_ *machineAgent, err error) {
	// The sessions' processes have other working directories than this one.
	if configuration.DataDir, err = filepath.Abs(configuration.DataDir); err != nil {
		return nil, fmt.Errorf("the agent's directory: %w", err)
	}
	if err := errors.Join(checkLabels(configuration.Labels), checkAllocatable(configuration.Allocatable)); err != nil {
		return nil, err
	}
	held, err := lockDir(configuration.DataDir, "data-dir")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = held.release()
		}
	}()
	sessions, err := newDriver(configuration, logger)
	if err != nil {
		return nil, err
	}
	made, err := agent.New(agent.Config{
		Server: server, Key: key, AgentID: configuration.ID, Region: configuration.Region,
		ClusterID: configuration.ClusterID, ClusterName: configuration.ClusterName,
		HomeStore: configuration.HomeStore, MaxSessions: configuration.MaxSessions, Labels: configuration.Labels, Allocatable: configuration.Allocatable,
		Version: version, JournalPath: filepath.Join(configuration.DataDir, "journal"), Driver: sessions, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	return &machineAgent{Agent: made, driver: sessions, lock: held}, nil
}

// newDriver makes the driver of the agent's platform.
func newDriver(configuration config.Agent, logger *slog.Logger) (driver.Driver, error) {
	switch configuration.Platform {
	case models.PlatformKubernetes:
		ctx, cancel := context.WithTimeout(context.Background(), clusterWithin)
		defer cancel()
		return kubernetes.New(ctx, clusterOf(configuration, logger))
	case models.PlatformDocker:
		ctx, cancel := context.WithTimeout(context.Background(), engineWithin)
		defer cancel()
		return docker.New(ctx, docker.Config{AgentID: cmp.Or(configuration.ContainersOf, configuration.ID), Host: configuration.DockerHost, ConfigDir: configuration.DockerConfig, Logger: logger})
	}
	return process.New(process.Config{Dir: configuration.DataDir, Logger: logger})
}

// close gives back what the agent has, once it has ended.
func (m *machineAgent) close() error {
	err := m.lock.release()
	if sessions, closes := m.driver.(io.Closer); closes {
		err = errors.Join(err, sessions.Close())
	}
	return err
}

// sessions counts what runs.
func (m *machineAgent) sessions(ctx context.Context) (int, error) {
	runtimes, err := m.driver.Inventory(ctx)
	return len(runtimes), err
}

// RunAgent runs an agent until ctx ends, or one of several replicas of it. Its
// sessions go on without it. version is told to the control plane.
func RunAgent(ctx context.Context, configuration config.Agent, version string, streams Streams) error {
	key, err := configuration.Secret()
	if err != nil {
		return err
	}
	address, err := configuration.URL()
	if err != nil {
		return err
	}
	logger := configuration.Log.Logger(streams.Err)
	work := func(ctx context.Context) error {
		running, err := newMachineAgent(configuration, address, key, version, logger)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(streams.Out, "Agent %s runs sessions on this machine for %s.\n", configuration.ID, address)
		err = running.Run(ctx)
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			err = nil
		}
		if count, countErr := running.sessions(context.WithoutCancel(ctx)); countErr == nil {
			tellRemaining(streams.Err, count, "the agent")
		}
		return errors.Join(err, running.close())
	}
	if configuration.Platform == models.PlatformKubernetes {
		kubernetes.Quieten(logger)
	}
	if configuration.Platform != models.PlatformKubernetes || configuration.Kubernetes.Replica == "" {
		return work(ctx)
	}
	err = kubernetes.Lead(ctx, clusterOf(configuration, logger), configuration.Kubernetes.Replica, work)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	return err
}

// clusterOf configures the driver of platform kubernetes.
func clusterOf(configuration config.Agent, logger *slog.Logger) kubernetes.Config {
	wishes := configuration.Kubernetes
	return kubernetes.Config{AgentID: configuration.ID, Kubeconfig: wishes.Kubeconfig, Namespace: wishes.Namespace,
		StorageClass: wishes.StorageClass, HomeSize: wishes.HomeSize, Logger: logger}
}
