package robustness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/kube"
	"github.com/streamspace/streamspace/test/program"
)

// podPoints are the moments between what the driver of Kubernetes asks of a
// cluster, and the operation that comes by them.
func podPoints() map[string]operation {
	return map[string]operation{"pod-made": launch, "pod-admitted": launch, "stop-noted": stop}
}

const podTemplate = `apiVersion: streamspace.io/v1
kind: Template
metadata: {name: pod}
spec:
  displayName: Pod
  protocol: terminal
  platforms: [kubernetes]
  baseImage: ` + kube.ShellImage + `
`

// An agent whose sessions are pods is killed at each step of a start and of a
// stop. Started again it finishes what it was at, once.
func TestKillOfAnAgentWithPods(t *testing.T) {
	cluster := kube.Need(t, kube.Start)
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Errorf("stop the cluster: %v", err)
		}
	})
	dir := t.TempDir()
	templates := filepath.Join(dir, "templates")
	if err := errors.Join(os.MkdirAll(templates, 0o755), os.WriteFile(filepath.Join(templates, "pod.yaml"), []byte(podTemplate), 0o600)); err != nil {
		t.Fatal(err)
	}
	server := program.Start(t, nil, "server", "--data-dir", filepath.Join(dir, "server"), "--listen", "127.0.0.1:0", "--templates", templates)
	address := strings.TrimSuffix(strings.Fields(server.Line("StreamSpace serves on"))[3], ".")
	api := program.Admin(t, address, filepath.Join(dir, "server"))
	key, err := api.CreateAgentKey(program.Limit(t), "pods")
	if err != nil {
		t.Fatal(err)
	}
	faults := newFailpoints(t, filepath.Join(dir, "faults"))
	begin := func() *program.Program {
		return program.StartBinary(t, failpointBinary(t), append(faults.env(), "STREAMSPACE_AGENT_KEY="+key.Key), "agent", "--platform", "kubernetes",
			"--kubeconfig", cluster.Kubeconfig(), "--namespace", "default", "--server", address, "--id", "pods", "--data-dir", filepath.Join(dir, "agent"))
	}
	agent := begin()
	becomes := func(id string, state models.SessionState, pods int) {
		t.Helper()
		program.Eventually(t, fmt.Sprintf("session %s is %s", id, state), time.Minute, func() error {
			session, err := api.Session(program.Limit(t), id)
			if err == nil && session.State != state {
				err = fmt.Errorf("it is %s: %s", session.State, session.Reason)
			}
			return err
		})
		all, err := cluster.Admin.CoreV1().Pods("default").List(program.Limit(t), meta.ListOptions{LabelSelector: "streamspace.io/session=" + id})
		if err != nil || len(all.Items) != pods {
			t.Errorf("session %s has %d pods, not %d: %v", id, len(all.Items), pods, err)
		}
		for _, pod := range all.Items {
			if len(pod.Spec.SchedulingGates) > 0 || pod.DeletionTimestamp != nil {
				t.Errorf("the pod of session %s is not to run", id)
			}
		}
	}
	points := podPoints()
	for _, point := range []string{"intent-synced", "effect-ahead", "effect-done", "outcome-synced"} {
		points[point] = launch
	}
	for point, during := range points {
		id := "at-" + point
		killing := func(of operation, do func() error) {
			t.Helper()
			if of == during {
				faults.arm(point, 1, "kill")
			}
			program.Eventually(t, string(of)+" is accepted", time.Minute, do)
			if of == during {
				faults.reached(point)
				<-agent.Exited()
				agent = begin()
			}
		}
		killing(launch, func() error {
			_, err := api.Launch(program.Limit(t), client.LaunchRequest{ID: id, Template: "pod"})
			return err
		})
		becomes(id, models.SessionRunning, 1)
		killing(stop, func() error {
			_, err := api.Stop(program.Limit(t), id)
			return err
		})
		becomes(id, models.SessionTerminated, 0)
	}
	agent.Stop()
}
