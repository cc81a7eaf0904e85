// Package pages measures the way from a browser to a session that is web pages,
// through a control plane and an agent in processes of their own, beside nginx
// that passes requests on to the same server.
package pages

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/nginx"
	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/bench/product"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/bench/source"
)

// The parts.
const (
	Download = "download"
	Upload   = "upload"
	Requests = "requests"
)

const (
	agentID     = "measured"
	readyWithin = 30 * time.Second
	// large is a file, small a part of a page, in bytes.
	large = 64 << 20
	small = 8 << 10
	mega  = 1e6
)

const template = `apiVersion: streamspace.io/v1
kind: Template
metadata: {name: ` + Name + `}
spec:
  displayName: Measured pages
  protocol: http
  platforms: [process]
  http: {}
  process: {command: ["true"]}
`

// Run measures downloads, uploads and small requests.
func Run(ctx context.Context, b *harness.Bench) (err error) {
	// Paths of unix sockets end at 107 bytes.
	sockets := filepath.Join(b.Dir, "sockets")
	peer := filepath.Join(b.Dir, "nginx")
	for _, dir := range []string{sockets, peer} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
	}
	if err := os.Chmod(b.Dir, 0o755); err != nil {
		return fmt.Errorf("open a directory for nginx: %w", err)
	}
	if _, err := startRole(ctx, b, b.Role("pages", "-dir", sockets)); err != nil {
		return err
	}
	proxy, err := nginx.Start(ctx, b.Processes, peer, source.Socket(sockets, Name))
	if err != nil {
		return err
	}
	ours, stop, err := startSystem(ctx, b, sockets)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	theirs := way{address: proxy.Address, host: proxy.Address}
	for _, one := range []struct {
		part, title  string
		conns        int
		requests     int
		sent, wanted int64
		scale        float64
	}{
		{Download, "bytes per second, downloads of 64 MiB over 2 connections (MB/s)", 2, b.Of(16, 4), 0, large, large / mega},
		{Upload, "bytes per second, uploads of 64 MiB over 2 connections (MB/s)", 2, b.Of(16, 4), large, 0, large / mega},
		{Requests, fmt.Sprintf("requests per second, answers of 8 KiB over %d connections", busy), busy, b.Of(12_000, 2000), 0, small, 1},
	} {
		if !b.Wants(one.part) {
			continue
		}
		measure := func(w way) func(context.Context) (float64, error) {
			return func(ctx context.Context) (float64, error) {
				rate, err := w.rate(ctx, one.conns, one.requests, one.sent, one.wanted)
				return rate * one.scale, err
			}
		}
		our, their, err := harness.Pairs(ctx, b.Of(9, 3), measure(ours), measure(theirs))
		if err != nil {
			return err
		}
		b.Report.Compare(report.Comparison{Metric: "http_" + one.part + "_ratio", Goal: report.AtLeast(0.7), Title: one.title,
			Peer: "nginx", Ours: our, Theirs: their})
	}
	return nil
}

// startSystem runs a control plane and an agent with one session, and gives the
// way to that with what ends them.
func startSystem(ctx context.Context, b *harness.Bench, sockets string) (ours way, stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for i := len(stops) - 1; i >= 0; i-- {
			errs = append(errs, stops[i]())
		}
		return errors.Join(errs...)
	}
	dataDir, agentDir := filepath.Join(b.Dir, "server"), filepath.Join(b.Dir, "agent")
	for _, dir := range []string{filepath.Join(dataDir, "templates"), agentDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return ours, stop, fmt.Errorf("make a directory: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dataDir, "templates", Name+".yaml"), []byte(template), 0o600); err != nil {
		return ours, stop, fmt.Errorf("write a template: %w", err)
	}
	plane, err := product.StartServer(ctx, b.Processes, product.Options{Program: b.Program, DataDir: dataDir})
	if err != nil {
		return ours, stop, err
	}
	stops = append(stops, plane.Stop)
	key, err := plane.API.CreateAgentKey(ctx, agentID)
	if err != nil {
		return ours, stop, fmt.Errorf("make a key for the agent: %w", err)
	}
	keyFile := filepath.Join(b.Dir, "agent.key")
	if err := os.WriteFile(keyFile, []byte(key.Key), 0o600); err != nil {
		return ours, stop, fmt.Errorf("write the agent's key: %w", err)
	}
	agent, err := startRole(ctx, b, b.Role("agent", "-server", plane.URL, "-id", agentID, "-key-file", keyFile, "-dir", agentDir, "-sockets", sockets))
	if err != nil {
		return ours, stop, err
	}
	stops = append(stops, agent.Stop)
	watcher, err := product.Watch(ctx, plane.API)
	if err != nil {
		return ours, stop, err
	}
	stops = append(stops, func() error { watcher.Close(); return nil })
	session, err := watcher.Launch(ctx, Name)
	if err != nil {
		return ours, stop, err
	}
	ours, err = enter(ctx, plane, session.ID)
	return ours, stop, err
}

// enter opens the session's pages as a browser does.
func enter(ctx context.Context, plane *product.ControlPlane, sessionID string) (way, error) {
	ticket, err := plane.API.Ticket(ctx, sessionID)
	if err != nil {
		return way{}, fmt.Errorf("get a ticket: %w", err)
	}
	leads, err := url.Parse(ticket.URL)
	if err != nil {
		return way{}, fmt.Errorf("read where a ticket leads: %w", err)
	}
	server, err := url.Parse(plane.URL)
	if err != nil {
		return way{}, fmt.Errorf("read the server's address: %w", err)
	}
	ours := way{address: server.Host, host: leads.Host}
	client := ours.client(1)
	defer client.CloseIdleConnections()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, ticket.URL, nil)
	if err != nil {
		return way{}, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return way{}, fmt.Errorf("open the session: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	cookies := answer.Cookies()
	if len(cookies) != 1 {
		return way{}, fmt.Errorf("opening the session is answered with %s and %d cookies", answer.Status, len(cookies))
	}
	ours.cookie = cookies[0].Name + "=" + cookies[0].Value
	return ours, nil
}

// startRole runs this program in another role and waits until it is ready.
func startRole(ctx context.Context, b *harness.Bench, command processes.Command) (*processes.Process, error) {
	process, err := b.Processes.Start(command)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	_, err = process.Line(ctx, "ready")
	return process, err
}
