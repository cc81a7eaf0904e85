// Package kube gives tests a real Kubernetes of one node, which runs pods on
// containerd: the API server, the controllers, the scheduler, the kubelet and
// kube-proxy, all from one program that scripts/build-kube builds.
//
// Everything is in a network namespace of its own, joined to the machine's by
// one link, so that programs of the machine reach the API server and the pods,
// and nothing else changes. Several clusters can run at once.
package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// Version is of Kubernetes, as in kubeall/go.mod.
	Version = "v1.34.4"
	// upWithin bounds each step of a start, on a busy machine.
	upWithin = 2 * time.Minute
	// lookEvery is how often a condition is tried again.
	lookEvery = 50 * time.Millisecond
	// nodeName names the one node.
	nodeName = "node1"
)

// Cluster is a running Kubernetes. Safe for concurrent use.
type Cluster struct {
	place
	// Admin is a client that may do everything, and AdminConfig its configuration.
	Admin       kubernetes.Interface
	AdminConfig *rest.Config

	release  func()
	volumes  context.CancelFunc
	watching sync.WaitGroup

	mu      sync.Mutex
	running map[string]*component
}

// component is a program of the cluster.
type component struct {
	process *os.Process
	ended   chan struct{}
}

// Need gives the cluster that start makes, and skips the test where there can be
// none; in CI there must be one.
func Need(t *testing.T, start func() (*Cluster, error)) *Cluster {
	t.Helper()
	started, err := start()
	if err == nil {
		return started
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("in CI there must be a Kubernetes: %v", err)
	}
	t.Skipf("SKIPPED: no Kubernetes can be started here: %v", err)
	return nil
}

// Start starts a cluster. It takes some seconds.
func Start() (_ *Cluster, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root can start one")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(cache, "streamspace", "kubeall-"+Version)
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("build it with `make kube`: %w", err)
	}
	at, release, err := takePlace()
	if err != nil {
		return nil, err
	}
	c := &Cluster{place: at, release: release, running: map[string]*component{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if err := c.clear(); err != nil { // what a test that was killed has left
		return nil, err
	}
	if err := errors.Join(c.makeNetwork(), c.makeControlGroups(), c.writeFiles(program)); err != nil {
		return nil, err
	}
	if err := errors.Join(c.run("containerd", "containerd", "--config", c.path("containerd.toml")),
		c.run("etcd", c.path("bin/etcd"), "--data-dir", c.path("etcd"), "--unsafe-no-fsync", "--log-level", "error"),
		c.StartAPI()); err != nil {
		return nil, err
	}
	if c.AdminConfig, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig()); err != nil {
		return nil, err
	}
	c.AdminConfig.QPS = -1
	if c.Admin, err = kubernetes.NewForConfig(c.AdminConfig); err != nil {
		return nil, err
	}
	if err := errors.Join(
		c.run("kube-controller-manager", c.path("bin/kube-controller-manager"), "--kubeconfig="+c.path("controllers.kubeconfig"),
			"--service-account-private-key-file="+c.path("pki/sa.key"), "--root-ca-file="+c.path("pki/apiserver.crt"), "--use-service-account-credentials=true",
			"--node-monitor-period=1s", "--node-monitor-grace-period=8s", "--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=1000",
			"--pvclaimbinder-sync-period=1s", "--cert-dir="+c.path("pki/controllers")),
		c.run("kube-scheduler", c.path("bin/kube-scheduler"), "--kubeconfig="+c.path("scheduler.kubeconfig"), "--leader-elect=false",
			"--kube-api-qps=500", "--kube-api-burst=1000", "--cert-dir="+c.path("pki/scheduler")),
		c.importImages(),
		c.StartNode(),
		c.run("kube-proxy", c.path("bin/kube-proxy"), "--kubeconfig="+c.path("proxy.kubeconfig"), "--proxy-mode=nftables", "--cluster-cidr="+c.pods(),
			"--hostname-override="+nodeName, "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
			"--healthz-bind-address=127.0.0.1:10256"),
	); err != nil {
		return nil, err
	}
	if err := c.waitForNode(); err != nil {
		return nil, err
	}
	return c, c.provideVolumes()
}

// Kubeconfig is the file of a user that may do everything.
func (c *Cluster) Kubeconfig() string { return c.path("admin.kubeconfig") }

// StartAPI starts the API server, and returns once it is ready.
func (c *Cluster) StartAPI() error {
	if err := c.run("kube-apiserver", c.path("bin/kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", "--secure-port=443",
		"--bind-address=0.0.0.0", "--advertise-address="+c.address(), "--cert-dir="+c.path("pki"), "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.path("pki/sa.pub"), "--service-account-signing-key-file="+c.path("pki/sa.key"), "--token-auth-file="+c.path("tokens.csv"),
		"--authorization-mode=Node,RBAC", "--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true",
		"--kubelet-preferred-address-types=InternalIP", "--profiling=false"); err != nil {
		return err
	}
	return c.wait("the API server is ready", func(ctx context.Context) error {
		config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
		if err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		_, err = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

// StopAPI kills the API server. Pods go on without it.
func (c *Cluster) StopAPI() { c.kill("kube-apiserver") }

// StartNode starts the kubelet, and StopNode kills it: the node's pods go on,
// and the node is taken to be gone after some seconds.
func (c *Cluster) StartNode() error {
	return c.run("kubelet", c.path("bin/kubelet"), "--kubeconfig="+c.path("node.kubeconfig"), "--config="+c.path("kubelet.yaml"),
		"--root-dir="+c.path("kubelet"), "--cert-dir="+c.path("kubelet/pki"), "--hostname-override="+nodeName, "--node-ip="+c.address())
}

// StopNode is described at StartNode.
func (c *Cluster) StopNode() { c.kill("kubelet") }

// Stop ends everything and leaves nothing.
func (c *Cluster) Stop() error {
	if c.volumes != nil {
		c.volumes()
		c.watching.Wait()
	}
	for _, name := range []string{"kube-proxy", "kubelet", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"} {
		c.kill(name)
	}
	err := c.killPods()
	c.kill("containerd")
	err = errors.Join(err, c.clear())
	c.release()
	return err
}

// run starts a program in the cluster's network namespace.
func (c *Cluster) run(name, program string, arguments ...string) error {
	log, err := os.OpenFile(c.path("log/"+name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	command := exec.Command("nsenter", append([]string{"--net=" + c.namespaceFile(), program}, arguments...)...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	started := &component{process: command.Process, ended: make(chan struct{})}
	go func() {
		_ = command.Wait() // its log says more
		close(started.ended)
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[name] = started
	return nil
}

// kill ends a program that run has started.
func (c *Cluster) kill(name string) {
	c.mu.Lock()
	one := c.running[name]
	delete(c.running, name)
	c.mu.Unlock()
	if one == nil {
		return
	}
	_ = one.process.Kill() // it may have ended
	<-one.ended
}

// wait tries a condition until it holds. When it does not, or a program ends
// meanwhile, the error has the end of the logs.
func (c *Cluster) wait(what string, holds func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), upWithin)
	defer cancel()
	for tick := time.NewTicker(lookEvery); ; {
		err := holds(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %v: %w\n%s", what, upWithin, err, c.logs())
		}
		if name := c.dead(); name != "" {
			return fmt.Errorf("%s: %s has ended: %w\n%s", what, name, err, c.logs())
		}
	}
}

// dead names a program that has ended by itself.
func (c *Cluster) dead() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, one := range c.running {
		select {
		case <-one.ended:
			return name
		default:
		}
	}
	return ""
}

// logs gives the end of each program's log.
func (c *Cluster) logs() string {
	const most = 2000
	var all bytes.Buffer
	files, _ := filepath.Glob(c.path("log/*"))
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		_, _ = fmt.Fprintf(&all, "--- %s\n%s\n", filepath.Base(file), content[max(0, len(content)-most):])
	}
	return all.String()
}
