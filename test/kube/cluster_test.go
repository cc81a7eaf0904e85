package kube_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/streamspace/streamspace/test/kube"
)

// A pod runs, is reached from the machine, outlives the API server, and nothing
// is left of the cluster in the end.
func TestCluster(t *testing.T) {
	c := kube.Need(t, kube.Start)
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	pods := c.Admin.CoreV1().Pods("default")
	_, err := pods.Create(ctx, &core.Pod{ObjectMeta: meta.ObjectMeta{Name: "web"}, Spec: core.PodSpec{Containers: []core.Container{{
		Name: "web", Image: kube.ShellImage, Args: []string{"httpd", "-f", "-p", "8080", "-h", "/bin"},
	}}}}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address := ""
	for address == "" {
		pod, err := pods.Get(ctx, "web", meta.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if pod.Status.Phase == core.PodRunning {
			address = net.JoinHostPort(pod.Status.PodIP, "8080")
		}
	}
	reach(t, ctx, address)
	c.StopAPI()
	reach(t, ctx, address)
	if err := c.StartAPI(); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "web", meta.GetOptions{}); err != nil {
		t.Error(err)
	}
	dir := c.Kubeconfig()
	stop()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the cluster's directory is left: %v", err)
	}
}

func reach(t *testing.T, ctx context.Context, address string) {
	t.Helper()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if ctx.Err() != nil {
			t.Fatal(fmt.Errorf("reach a pod: %w", err))
		}
	}
}
