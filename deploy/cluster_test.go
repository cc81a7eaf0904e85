package deploy_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/streamspace/streamspace/test/kube"
)

// sessionsNamespace is where the agent's sessions are.
const sessionsNamespace = "sessions"

// shell is a template whose image the cluster has.
const shell = `apiVersion: streamspace.io/v1
kind: Template
metadata: {name: shell}
spec:
  displayName: Shell
  protocol: terminal
  platforms: [kubernetes]
  baseImage: ` + kube.ShellImage + `
  container: {command: [sh]}
`

// The chart is installed, with the image that the Dockerfile makes: its probes
// pass, the agent connects with the rights that it has, and a session runs.
func TestTheChartInACluster(t *testing.T) {
	cluster := kube.Need(t, kube.Start)
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	docker, dir := startEngine(t), t.TempDir()
	lastStage(t, dir)
	archive := filepath.Join(dir, "image.tar")
	docker.must("build", "--quiet", "--tag", "streamspace:test", dir)
	docker.must("save", "--output", archive, "streamspace:test")
	if _, err := cluster.Containerd("images", "import", archive); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{namespace, sessionsNamespace} {
		if _, err := cluster.Admin.CoreV1().Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: name, Labels: map[string]string{
			"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}}}, meta.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}

	i := newInstallation(t, cluster)
	// What is not run here is taken by the API server all the same.
	for name, of := range map[string]values{
		"PostgreSQL": withPostgres(3),
		"ingress":    {"server": map[string]any{"publicUrl": "https://streamspace.example.org", "ingress": map[string]any{"enabled": true, "tlsSecret": "tls"}}},
	} {
		if err := i.apply(of, true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	of := values{"image": map[string]any{"repository": "streamspace", "tag": "test", "pullPolicy": "Never"},
		"server": map[string]any{"templates": map[string]any{"shell.yaml": shell}}}
	if err := i.apply(of, false); err != nil {
		t.Fatal(err)
	}
	i.available("demo-streamspace-server", 1)
	key, err := i.streamspace("agents", "key", "kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Admin.CoreV1().Secrets(namespace).Create(t.Context(), &core.Secret{ObjectMeta: meta.ObjectMeta{Name: "agent-key"},
		StringData: map[string]string{"agent.key": key}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	service, err := cluster.Admin.CoreV1().Services(namespace).Get(t.Context(), "demo-streamspace", meta.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	of["agent"] = map[string]any{"enabled": true, "keySecret": map[string]any{"name": "agent-key"},
		"sessionsNamespace": sessionsNamespace, "server": "http://" + service.Spec.ClusterIP} // the cluster has no DNS
	if err := i.apply(of, false); err != nil {
		t.Fatal(err)
	}
	i.available("demo-streamspace-agent", 2)
	eventually(t, "the agent is online", func() error {
		list, err := i.streamspace("agents", "list")
		if err == nil && !strings.Contains(list, "online") {
			err = errors.New(list + i.describe())
		}
		return err
	})

	if said, err := i.streamspace("session", "launch", "shell", "--id", "first", "--wait"); err != nil {
		t.Fatalf("%v: %s%s", err, said, i.describe())
	}
	if pods := i.sessions(t.Context()); len(pods) != 1 || pods[0].Status.Phase != core.PodRunning {
		t.Errorf("the session's pods are %+v", pods)
	}
	if _, err := i.streamspace("session", "stop", "first"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left of the session", func() error {
		said, err := i.streamspace("session", "show", "first")
		if err != nil {
			return err
		}
		if pods := i.sessions(t.Context()); len(pods) > 0 || !strings.Contains(said, "terminated") {
			return fmt.Errorf("%d pods, %s", len(pods), said)
		}
		return nil
	})

	if err := i.remove(of); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all pods are gone", func() error {
		left, err := cluster.Admin.CoreV1().Pods(namespace).List(t.Context(), meta.ListOptions{})
		if err == nil && len(left.Items) > 0 {
			err = fmt.Errorf("%d are left", len(left.Items))
		}
		return err
	})
}
