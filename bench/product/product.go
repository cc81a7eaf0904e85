// Package product runs the product's own programs and uses them as a client
// does.
package product

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/client"
)

// startWithin bounds the start of a program.
const startWithin = 60 * time.Second

// ControlPlane is a running control plane.
type ControlPlane struct {
	*processes.Process
	// URL is its base URL.
	URL string
	// API calls it as its admin.
	API *client.Client
}

// Options say how to run a control plane. Program and DataDir are needed.
type Options struct {
	// Program is the product's binary.
	Program string
	// DataDir is the control plane's data directory.
	DataDir string
	// Listen is where it serves; a free port of 127.0.0.1 by default.
	Listen string
	// URL is its base URL for clients; by default the one that it prints.
	URL string
	// In changes where the process runs, e.g. the network namespace.
	In func(processes.Command) processes.Command
	// Docker is the engine that `up` uses besides; none by default.
	Docker string
	// HTTP makes the client's requests; by default a client of its own.
	HTTP *http.Client
}

// StartUp runs `streamspace up`, a control plane with an agent inside.
func StartUp(ctx context.Context, owner *processes.Owner, options Options) (*ControlPlane, error) {
	return start(ctx, owner, options, "up", "/login?token=")
}

// StartServer runs `streamspace server`, a control plane alone.
func StartServer(ctx context.Context, owner *processes.Owner, options Options) (*ControlPlane, error) {
	return start(ctx, owner, options, "server", "serves on")
}

// start runs the command and waits for the line that has text, which it prints
// when it is ready and which has its address.
func start(ctx context.Context, owner *processes.Owner, options Options, command, text string) (*ControlPlane, error) {
	if options.Listen == "" {
		options.Listen = "127.0.0.1:0"
	}
	run := processes.Command{Path: options.Program,
		Arguments: []string{command, "--data-dir", options.DataDir, "--listen", options.Listen, "--log-level", "warn"}}
	if command == "up" {
		run.Arguments = append(run.Arguments, "--docker", cmp.Or(options.Docker, "off"))
	}
	if options.In != nil {
		run = options.In(run)
	}
	process, err := owner.Start(run)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	line, err := process.Line(ctx, text)
	if err != nil {
		return nil, err
	}
	if options.URL == "" {
		if options.URL = regexp.MustCompile(`http://[0-9.:]+[0-9]`).FindString(line); options.URL == "" {
			return nil, fmt.Errorf("streamspace %s prints no address in %q", command, line)
		}
	}
	token, err := os.ReadFile(filepath.Join(options.DataDir, "admin.token"))
	if err != nil {
		return nil, fmt.Errorf("read the admin's token: %w", err)
	}
	return &ControlPlane{Process: process, URL: options.URL,
		API: client.New(options.URL, strings.TrimSpace(string(token)), client.Options{HTTP: options.HTTP})}, nil
}
