package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/streamspace/streamspace/test/kube"
	"github.com/streamspace/streamspace/test/program"
)

// namespace is where the sessions' pods are.
const namespace = "default"

// A real desktop and a web app in pods of a real Kubernetes, from the first click
// to the last pod. The agent is outside of the cluster.
func TestPodsInABrowser(t *testing.T) {
	cluster := kube.Need(t, kube.Start)
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Errorf("stop the cluster: %v", err)
		}
	})
	giveImages(t, cluster)
	dataDir := filepath.Join(t.TempDir(), "data")
	boxTemplates(t, dataDir, "kubernetes")
	up := program.StartUp(t, dataDir, "")
	startPods(t, up, cluster)
	// onlyHomes waits until nothing but so many homes is in the cluster.
	onlyHomes := func(homes int) func(string) (string, error) {
		return func(string) (string, error) {
			return "", soon(func() error {
				pods, err := cluster.Admin.CoreV1().Pods(namespace).List(t.Context(), meta.ListOptions{})
				claims, claimErr := cluster.Admin.CoreV1().PersistentVolumeClaims(namespace).List(t.Context(), meta.ListOptions{})
				services, serviceErr := cluster.Admin.CoreV1().Services(namespace).List(t.Context(), meta.ListOptions{LabelSelector: "!provider"})
				if err := errors.Join(err, claimErr, serviceErr); err != nil {
					return err
				}
				if len(pods.Items) != 0 || len(claims.Items) != homes || len(services.Items) != 0 {
					return fmt.Errorf("left are %d pods, %d claims and %d services", len(pods.Items), len(claims.Items), len(services.Items))
				}
				return nil
			})
		}
	}
	play(t, "container", []string{"LOGIN=" + up.Login}, steps{
		// file waits for a file of the home.
		"file": func(name string) (content string, err error) {
			err = soon(func() error {
				container, err := onlyContainer(t, cluster)
				if err == nil {
					content, err = cluster.Containerd("tasks", "exec", "--exec-id", t.Name(), container, "sh", "-c", `cat "$HOME/`+name+`"`)
				}
				if content = strings.TrimSpace(content); err == nil && content == "" {
					err = errors.New("it is empty")
				}
				return err
			})
			return content, err
		},
		"asleep": onlyHomes(1),
		"gone":   onlyHomes(1),
	})
	link, err := up.API().LoginLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	play(t, "pages", []string{"LOGIN=" + link.URL, "WHERE=own", "SLEEPS=1"}, steps{
		"note":   func(string) (string, error) { return "", nil },
		"asleep": onlyHomes(2),
		"gone":   onlyHomes(2),
	})
	up.Stop()
}

// giveImages makes the images with a Docker engine, and gives them to the node.
func giveImages(t *testing.T, cluster *kube.Cluster) {
	t.Helper()
	engine := newEngine(t)
	saved := filepath.Join(t.TempDir(), "images.tar")
	_, err := engine.Docker("save", "--output", saved, desktopImage, pagesImage)
	if err == nil {
		_, err = cluster.Containerd("images", "import", saved)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// startPods starts an agent for the cluster, and waits until it is connected.
func startPods(t *testing.T, up *program.Up, cluster *kube.Cluster) {
	t.Helper()
	const id = "pods"
	key, err := up.API().CreateAgentKey(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "agent.key")
	if err := os.WriteFile(keyFile, []byte(key.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	agent := program.Start(t, nil, "agent", "--platform", "kubernetes", "--server", up.URL, "--id", id, "--key-file", keyFile,
		"--data-dir", filepath.Join(dir, "agent"), "--kubeconfig", cluster.Kubeconfig(), "--namespace", namespace)
	t.Cleanup(agent.Stop)
	if err := soon(func() error {
		known, err := up.API().Agent(t.Context(), id)
		if err == nil && !known.Connected {
			err = errors.New("the agent is not connected")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// onlyContainer is the name of the one that runs.
func onlyContainer(t *testing.T, cluster *kube.Cluster) (string, error) {
	pods, err := cluster.Admin.CoreV1().Pods(namespace).List(t.Context(), meta.ListOptions{})
	if err != nil {
		return "", err
	}
	var running []string
	for _, pod := range pods.Items {
		for _, container := range pod.Status.ContainerStatuses {
			if pod.Status.Phase == core.PodRunning && container.State.Running != nil {
				running = append(running, strings.TrimPrefix(container.ContainerID, "containerd://"))
			}
		}
	}
	if len(running) != 1 {
		return "", fmt.Errorf("%d containers run", len(running))
	}
	return running[0], nil
}
