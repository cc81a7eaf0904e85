// Package kubernetes measures the time from the wish for a session in a pod to
// the first byte of its stream, against kubectl that runs a pod of the same image
// until that is ready.
package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/bench/product"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/bench/statistics"
	"github.com/streamspace/streamspace/test/kube"
)

const (
	// image is a VNC server that greets, started in a moment: what is measured is
	// the way to it.
	image = "streamspace.test/screen:1"
	// server is its source.
	server = "github.com/streamspace/streamspace/agent/driver/kubernetes/testdata/rfb"
	// namespace is one that every cluster has.
	namespace = "default"
	agentID   = "pods"
	// goal leaves a fifth of what the cluster needs for a pod that is ready.
	goal = 1.2
	// byteWithin bounds the wait for the first byte.
	byteWithin = 30 * time.Second
	// connectWithin bounds the start of the agent.
	connectWithin = 30 * time.Second
)

const template = `apiVersion: streamspace.io/v1
kind: Template
metadata: {name: screen}
spec:
  displayName: Screen
  protocol: vnc
  platforms: [kubernetes]
  baseImage: ` + image + `
  vnc: {enabled: true, port: 5900}
  container: {pullPolicy: never}
`

// Run measures launches by turns with kubectl.
func Run(ctx context.Context, b *harness.Bench) (err error) {
	kubectl, err := harness.Need("kubectl", "apt-get install kubernetes-client")
	if err != nil {
		return err
	}
	cluster, err := kube.Start()
	if err != nil {
		return fmt.Errorf("start a Kubernetes: %w", err)
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	program, err := kube.Program(server)
	if err != nil {
		return err
	}
	if err := cluster.Import(kube.Image{Name: image, Files: map[string][]byte{"rfb": program}, Command: []string{"/rfb"}, User: "1000"}); err != nil {
		return err
	}
	ours, err := newLauncher(ctx, b, cluster.Kubeconfig())
	if err != nil {
		return err
	}
	defer ours.watcher.Close()
	theirs := &byHand{kubectl: kubectl, kubeconfig: cluster.Kubeconfig()}
	for _, warm := range []func(context.Context) (float64, error){ours.measure, theirs.measure} {
		if _, err := warm(ctx); err != nil {
			return err
		}
	}
	our, their, err := harness.Pairs(ctx, b.Of(15, 2), ours.measure, theirs.measure)
	if err != nil {
		return err
	}
	b.Report.Compare(report.Comparison{Metric: "kubernetes_launch_ratio", Goal: report.AtMost(goal), Digits: 0, Peer: "kubectl run until ready",
		Title: "From the wish for a session in a pod to the first byte of its stream (ms)", Ours: our, Theirs: their})
	return nil
}

// launcher launches sessions as a program does that uses the API.
type launcher struct {
	plane   *product.ControlPlane
	watcher *product.Watcher
}

// newLauncher starts a control plane, and an agent that reaches the cluster from
// outside.
func newLauncher(ctx context.Context, b *harness.Bench, kubeconfig string) (*launcher, error) {
	data := filepath.Join(b.Dir, "data")
	templates := filepath.Join(data, "templates")
	if err := os.MkdirAll(templates, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(templates, "screen.yaml"), []byte(template), 0o600); err != nil {
		return nil, fmt.Errorf("write a template: %w", err)
	}
	plane, err := product.StartServer(ctx, b.Processes, product.Options{Program: b.Program, DataDir: data})
	if err != nil {
		return nil, err
	}
	key, err := plane.API.CreateAgentKey(ctx, agentID)
	if err != nil {
		return nil, fmt.Errorf("make a key for the agent: %w", err)
	}
	keyFile := filepath.Join(b.Dir, "agent.key")
	if err := os.WriteFile(keyFile, []byte(key.Key), 0o600); err != nil {
		return nil, fmt.Errorf("write the agent's key: %w", err)
	}
	agent, err := b.Processes.Start(processes.Command{Path: b.Program, Arguments: []string{"agent", "--platform", "kubernetes",
		"--server", plane.URL, "--id", agentID, "--key-file", keyFile, "--data-dir", filepath.Join(b.Dir, "agent"),
		"--kubeconfig", kubeconfig, "--namespace", namespace, "--log-level", "warn"}})
	if err != nil {
		return nil, err
	}
	if err := connected(ctx, plane, agent); err != nil {
		return nil, err
	}
	watcher, err := product.Watch(ctx, plane.API)
	if err != nil {
		return nil, err
	}
	return &launcher{plane: plane, watcher: watcher}, nil
}

// connected waits until the control plane has the agent's connection.
func connected(ctx context.Context, plane *product.ControlPlane, agent *processes.Process) error {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for {
		known, err := plane.API.Agent(ctx, agentID)
		if err == nil && known.Connected {
			return nil
		}
		select {
		case <-look.C:
		case <-agent.Exited():
			return fmt.Errorf("the agent ended:\n%s", agent.Log())
		case <-ctx.Done():
			return fmt.Errorf("the agent does not connect: %w:\n%s", ctx.Err(), agent.Log())
		}
	}
}

// measure launches a session, reads the first byte of its stream and stops it. It
// gives milliseconds.
func (l *launcher) measure(ctx context.Context) (float64, error) {
	begun := time.Now()
	session, err := l.watcher.Launch(ctx, "screen")
	if err != nil {
		return 0, err
	}
	ticket, err := l.plane.API.Ticket(ctx, session.ID)
	if err != nil {
		return 0, fmt.Errorf("get a ticket: %w", err)
	}
	streaming, cancel := context.WithTimeout(ctx, byteWithin)
	defer cancel()
	stream, err := l.plane.API.StreamWith(streaming, session.ID, ticket.Ticket)
	if err != nil {
		return 0, err
	}
	defer func() { _ = stream.Close() }()
	if _, err := io.ReadFull(stream, make([]byte, 1)); err != nil {
		return 0, fmt.Errorf("read the first byte: %w", err)
	}
	took := time.Since(begun)
	return statistics.Milliseconds(took), l.watcher.Stop(ctx, session.ID)
}

// byHand runs pods with kubectl.
type byHand struct {
	kubectl, kubeconfig string
	started             int
}

// measure runs a pod until it is ready, and deletes it.
func (h *byHand) measure(ctx context.Context) (float64, error) {
	h.started++
	name := "byhand-" + strconv.Itoa(h.started)
	begun := time.Now()
	if err := h.run(ctx, "run", name, "--image="+image, "--image-pull-policy=Never", "--restart=Never"); err != nil {
		return 0, err
	}
	if err := h.run(ctx, "wait", "--for=condition=Ready", "--timeout=60s", "pod/"+name); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	return statistics.Milliseconds(took), h.run(ctx, "delete", "pod", name, "--grace-period=1")
}

func (h *byHand) run(ctx context.Context, arguments ...string) error {
	command := exec.CommandContext(ctx, h.kubectl, append([]string{"--kubeconfig", h.kubeconfig, "--namespace", namespace}, arguments...)...)
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w: %s", arguments[0], err, said)
	}
	return nil
}
