// Package docker measures the time from the wish for a session to its first
// byte, when sessions are containers, beside `docker run` of the same image.
package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/streamspace/streamspace/agent/driver/docker/enginetest"
	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/product"
	"github.com/streamspace/streamspace/bench/report"
)

const (
	image = "streamspace-bench/greeter:1"
	// template is of a program that greets whoever connects, as VNC servers do.
	template = `apiVersion: streamspace.io/v1
kind: Template
metadata: {name: greeter}
spec:
  displayName: Greeter
  protocol: vnc
  platforms: [docker]
  baseImage: ` + image + `
  vnc: {enabled: true, port: 5900}
  container: {pullPolicy: never}
`
	// goal is for all that the product does besides: two writes to disk, the way
	// through control plane and agent, a home, and the stream's way back.
	goal = 1.2
	// The network of the peer, and where its container is on it.
	network, subnet, address = "peer", "172.31.250.0/24", "172.31.250.10"
	// readWithin bounds the wait for the first byte.
	readWithin = 30 * time.Second
	dialEvery  = time.Millisecond
	restFor    = time.Second
)

// Run measures launches by turns with docker run.
func Run(ctx context.Context, b *harness.Bench) (err error) {
	for _, program := range []string{"dockerd", "docker"} {
		if _, err := harness.Need(program, "apt-get install docker.io"); err != nil {
			return err
		}
	}
	engine, err := enginetest.Start()
	if err != nil {
		return fmt.Errorf("start a Docker engine: %w", err)
	}
	defer func() { err = errors.Join(err, engine.Stop()) }()
	if err := engine.ImportProgram(ctx, image, "../agent/driver/docker/testdata/rfb"); err != nil {
		return err
	}
	if _, err := engine.Docker("network", "create", "--subnet", subnet, network); err != nil {
		return err
	}
	data := filepath.Join(b.Dir, "data")
	if err := errors.Join(os.MkdirAll(filepath.Join(data, "templates"), 0o700),
		os.WriteFile(filepath.Join(data, "templates", "greeter.yaml"), []byte(template), 0o600)); err != nil {
		return fmt.Errorf("write the template: %w", err)
	}
	plane, err := product.StartUp(ctx, b.Processes, product.Options{Program: b.Program, DataDir: data, Docker: engine.Host})
	if err != nil {
		return err
	}
	watcher, err := product.Watch(ctx, plane.API)
	if err != nil {
		return err
	}
	defer watcher.Close()
	ours := &launcher{plane: plane, watcher: watcher}
	theirs := func(ctx context.Context) (float64, error) { return run(ctx, engine) }
	for _, warm := range []func(context.Context) (float64, error){ours.measure, theirs} {
		if _, err := warm(ctx); err != nil {
			return err
		}
	}
	our, their, err := harness.Pairs(ctx, b.Of(20, 4), rested(ours.measure), rested(theirs))
	if err != nil {
		return err
	}
	b.Report.Compare(report.Comparison{Metric: "docker_launch_ratio", Goal: report.AtMost(goal),
		Title: "from the wish for a session to its first byte (ms)", Digits: 1, Peer: "docker run", Ours: our, Theirs: their})
	return nil
}

// rested measures on a machine that has come to rest.
func rested(measure func(context.Context) (float64, error)) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		select {
		case <-time.After(restFor):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		return measure(ctx)
	}
}

// launcher launches sessions as a program does that uses the API.
type launcher struct {
	plane   *product.ControlPlane
	watcher *product.Watcher
}

// measure launches a session, waits for its first byte and stops it.
func (l *launcher) measure(ctx context.Context) (float64, error) {
	begun := time.Now()
	session, err := l.watcher.Launch(ctx, "greeter")
	if err != nil {
		return 0, err
	}
	streaming, cancel := context.WithCancel(ctx)
	defer cancel()
	ticket, err := l.plane.API.Ticket(ctx, session.ID)
	if err != nil {
		return 0, fmt.Errorf("get a ticket: %w", err)
	}
	stream, err := l.plane.API.StreamWith(streaming, session.ID, ticket.Ticket)
	if err != nil {
		return 0, err
	}
	defer func() { _ = stream.Close() }()
	if err := firstByte(stream); err != nil {
		return 0, err
	}
	took := milliseconds(begun)
	return took, l.watcher.Stop(ctx, session.ID)
}

// run starts a container with Docker's own command line, waits for its first
// byte and removes it.
func run(ctx context.Context, engine *enginetest.Engine) (took float64, err error) {
	begun := time.Now()
	if _, err := engine.Docker("run", "--detach", "--name", "peer", "--network", network, "--ip", address, image); err != nil {
		return 0, err
	}
	if err := answered(ctx); err != nil {
		return 0, err
	}
	took = milliseconds(begun)
	_, err = engine.Docker("rm", "--force", "peer")
	return took, err
}

// answered waits until the peer's port gives a byte.
func answered(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	dialer := &net.Dialer{}
	for {
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address, "5900"))
		if err == nil {
			return errors.Join(firstByte(conn), conn.Close())
		}
		select {
		case <-time.After(dialEvery):
		case <-ctx.Done():
			return err
		}
	}
}

func firstByte(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(readWithin)); err != nil {
		return fmt.Errorf("bound the wait for a byte: %w", err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return fmt.Errorf("read the first byte: %w", err)
	}
	return nil
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }
