package docker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/docker"
	"github.com/streamspace/streamspace/agent/driver/drivertest"
	"github.com/streamspace/streamspace/models"
)

func TestDriver(t *testing.T) {
	e := need(t)
	drivertest.Run(t, drivertest.Harness{
		World:    func(t *testing.T) drivertest.World { return e.world(t) },
		Terminal: func(ref driver.Ref, script string) driver.Spec { return shell(ref, "sh", "-c", script) },
		Screen: func(ref driver.Ref) driver.Spec {
			spec := shell(ref)
			spec.Template.Metadata.Name = "desk"
			spec.Template.Spec.BaseImage, spec.Template.Spec.Protocol, spec.Template.Spec.VNC = screenImage, models.ProtocolVNC, models.VNC{Enabled: true}
			return spec
		},
		Pages: func(ref driver.Ref) driver.Spec {
			spec := shell(ref)
			spec.Template.Metadata.Name = "pages"
			spec.Template.Spec.BaseImage, spec.Template.Spec.Protocol = pagesImage, models.ProtocolHTTP
			spec.Template.Spec.HTTP = &models.HTTP{Port: 8080, HealthPath: "/health"}
			return spec
		},
		Broken: func(ref driver.Ref) (driver.Spec, models.ErrorCode) {
			spec := shell(ref, "sh")
			spec.Template.Spec.BaseImage = "streamspace-test/nothing:1"
			return spec, models.CodeImageMissing
		},
		LimitsMemory: true,
	})
}

func shell(ref driver.Ref, command ...string) driver.Spec {
	spec := driver.Spec{Ref: ref, User: "alice"}
	spec.Template.Metadata.Name = "shell"
	spec.Template.Spec.BaseImage, spec.Template.Spec.Protocol = shellImage, models.ProtocolTerminal
	spec.Template.Spec.Container = &models.ContainerSpec{Command: command, PullPolicy: models.PullNever}
	return spec
}

// world is an agent of its own on the engine. Whatever it has made ends with the
// test.
func (e *engine) world(t *testing.T) drivertest.World {
	t.Helper()
	agentID := fmt.Sprint("agent-", time.Now().UnixNano())
	filters := make(client.Filters).Add("label", "io.streamspace.agent="+agentID)
	t.Cleanup(func() { e.clear(t, filters) })
	open := func(t *testing.T, host string) driver.Driver {
		t.Helper()
		opened, err := docker.New(t.Context(), docker.Config{AgentID: agentID, Host: host, StopGrace: time.Second,
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err != nil {
			t.Fatal(err)
		}
		return opened
	}
	return drivertest.World{
		Open:  func(t *testing.T) driver.Driver { return open(t, e.host) },
		Dying: func(t *testing.T, calls int, lost bool) driver.Driver { return open(t, e.dying(t, calls, lost)) },
		Left:  func(t *testing.T, sessionID string) []string { return e.left(t, filters, sessionID) },
		Kill: func(t *testing.T, runtime driver.Runtime) {
			if _, err := e.client.ContainerKill(t.Context(), runtime.Metadata["container"].(string), client.ContainerKillOptions{Signal: "KILL"}); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// left describes what there is of a session, its processes too.
func (e *engine) left(t *testing.T, filters client.Filters, sessionID string) (all []string) {
	t.Helper()
	ctx := context.Background()
	containers, err := e.client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range containers.Items {
		if one.Labels["io.streamspace.session"] != sessionID {
			continue
		}
		all = append(all, "container "+one.Names[0]+" "+string(one.State))
		if processes, err := e.client.ContainerTop(ctx, one.ID, client.ContainerTopOptions{}); err == nil {
			for _, process := range processes.Processes {
				all = append(all, "process "+strings.Join(process, " "))
			}
		}
	}
	volumes, err := e.client.VolumeList(ctx, client.VolumeListOptions{Filters: filters})
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range volumes.Items {
		if one.Labels["io.streamspace.session"] == sessionID {
			all = append(all, "volume "+one.Name)
		}
	}
	return all
}

func (e *engine) clear(t *testing.T, filters client.Filters) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var failed []error
	containers, err := e.client.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	failed = append(failed, err)
	for _, one := range containers.Items {
		_, err := e.client.ContainerRemove(ctx, one.ID, client.ContainerRemoveOptions{Force: true})
		failed = append(failed, err)
	}
	volumes, err := e.client.VolumeList(ctx, client.VolumeListOptions{Filters: filters})
	failed = append(failed, err)
	for _, one := range volumes.Items {
		_, err := e.client.VolumeRemove(ctx, one.Name, client.VolumeRemoveOptions{Force: true})
		failed = append(failed, err)
	}
	networks, err := e.client.NetworkList(ctx, client.NetworkListOptions{Filters: filters})
	failed = append(failed, err)
	for _, one := range networks.Items {
		_, err := e.client.NetworkRemove(ctx, one.ID, client.NetworkRemoveOptions{})
		failed = append(failed, err)
	}
	if err := errors.Join(failed...); err != nil {
		t.Error(err)
	}
}
