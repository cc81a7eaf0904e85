package kubernetes_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/drivertest"
	"github.com/streamspace/streamspace/agent/driver/kubernetes"
	"github.com/streamspace/streamspace/models"
)

func TestDriver(t *testing.T) {
	p := newPlace(t, "suite")
	drivertest.Run(t, drivertest.Harness{
		World:    func(t *testing.T) drivertest.World { return p.world(t) },
		Terminal: func(ref driver.Ref, script string) driver.Spec { return shell(ref, "sh", "-c", script) },
		Screen:   screen,
		Pages: func(ref driver.Ref) driver.Spec {
			spec := shell(ref)
			spec.Template.Metadata.Name = "pages"
			spec.Template.Spec.BaseImage, spec.Template.Spec.Protocol = pagesImage, models.ProtocolHTTP
			spec.Template.Spec.HTTP = &models.HTTP{Port: 8080, HealthPath: "/health"}
			return spec
		},
		Broken: func(ref driver.Ref) (driver.Spec, models.ErrorCode) {
			spec := shell(ref, "sh")
			spec.Template.Spec.BaseImage = "streamspace.test/nothing:1"
			spec.Template.Spec.Container.PullPolicy = models.PullNever
			return spec, models.CodeImageMissing
		},
		Parallel: true, LimitsMemory: true,
	})
}

func shell(ref driver.Ref, command ...string) driver.Spec {
	spec := driver.Spec{Ref: ref, User: "alice"}
	spec.Template.Metadata.Name = "shell"
	spec.Template.Spec.BaseImage, spec.Template.Spec.Protocol = "streamspace.test/shell:1", models.ProtocolTerminal
	spec.Template.Spec.Container = &models.ContainerSpec{Command: command}
	return spec
}

func screen(ref driver.Ref) driver.Spec {
	spec := shell(ref)
	spec.Template.Metadata.Name = "desk"
	spec.Template.Spec.BaseImage, spec.Template.Spec.Protocol, spec.Template.Spec.VNC = screenImage, models.ProtocolVNC, models.VNC{Enabled: true}
	return spec
}

// open makes a driver that ends with the test.
func (p place) open(t *testing.T, config kubernetes.Config) *kubernetes.Driver {
	t.Helper()
	config.Kubeconfig, config.Namespace, config.StopGrace = p.kubeconfig, p.namespace, time.Second
	config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	opened, err := kubernetes.New(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() }) // which always succeeds
	return opened
}

// world is an agent of its own in the namespace. Whatever it has made ends with
// the test.
func (p place) world(t *testing.T) drivertest.World {
	t.Helper()
	agentID := fmt.Sprint("agent-", time.Now().UnixNano())
	t.Cleanup(func() { p.clear(t, agentID) })
	return drivertest.World{
		Open: func(t *testing.T) driver.Driver {
			return p.open(t, kubernetes.Config{AgentID: agentID})
		},
		Dying: func(t *testing.T, calls int, lost bool) driver.Driver { return p.dying(t, agentID, calls, lost) },
		Left:  func(t *testing.T, sessionID string) []string { return p.left(t, agentID, sessionID) },
		Kill:  func(t *testing.T, runtime driver.Runtime) { p.kill(t, runtime.Metadata["pod"].(string)) },
	}
}

func ofAgent(agentID string) meta.ListOptions {
	return meta.ListOptions{LabelSelector: "streamspace.io/agent=" + agentID}
}

// left describes what there is of a session: its pods, and containers that run
// whatever the API says. Records are no part of it: they say that it is over.
func (p place) left(t *testing.T, agentID, sessionID string) (all []string) {
	t.Helper()
	pods, err := p.Admin.CoreV1().Pods(p.namespace).List(context.Background(), ofAgent(agentID))
	if err != nil {
		t.Fatal(err)
	}
	records, err := p.Admin.CoreV1().ConfigMaps(p.namespace).List(context.Background(), ofAgent(agentID))
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Annotations["streamspace.io/session"] == sessionID {
			all = append(all, fmt.Sprintf("pod %s %s %v", pod.Name, pod.Status.Phase, pod.Status.ContainerStatuses))
		}
	}
	for _, record := range records.Items {
		if record.Annotations["streamspace.io/session"] != sessionID {
			continue
		}
		for _, container := range p.containers(t, record.Name+"-") {
			all = append(all, "container "+container)
		}
	}
	return all
}

// containers lists the ids of containers that run in pods of a name.
func (p place) containers(t *testing.T, pod string) (running []string) {
	t.Helper()
	tasks, err := p.Containerd("tasks", "list")
	if err != nil {
		t.Fatal(err)
	}
	known, err := p.Containerd("containers", "list", "labels.\"io.kubernetes.pod.name\"~=^"+pod)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(known) {
		id := strings.Fields(line)[0]
		for task := range strings.Lines(tasks) {
			if fields := strings.Fields(task); fields[0] == id && fields[2] == "RUNNING" {
				running = append(running, id)
			}
		}
	}
	return running
}

// kill kills what runs in a pod, as a crash does.
func (p place) kill(t *testing.T, pod string) {
	t.Helper()
	for _, id := range p.containers(t, pod+"$") {
		label, err := p.Containerd("containers", "info", id)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(label, `"io.cri-containerd.kind": "container"`) {
			if _, err := p.Containerd("tasks", "kill", "--signal", "KILL", id); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("nothing runs in pod %s", pod)
}

func (p place) clear(t *testing.T, agentID string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Admin.CoreV1().ConfigMaps(p.namespace).DeleteCollection(ctx, meta.DeleteOptions{}, ofAgent(agentID)); err != nil {
		t.Error(err)
	}
	if err := p.Admin.CoreV1().PersistentVolumeClaims(p.namespace).DeleteCollection(ctx, meta.DeleteOptions{}, ofAgent(agentID)); err != nil {
		t.Error(err)
	}
	if err := p.Admin.CoreV1().Pods(p.namespace).DeleteCollection(ctx, meta.DeleteOptions{}, ofAgent(agentID)); err != nil {
		t.Error(err)
	}
}
