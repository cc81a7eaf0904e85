package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/streamspace/streamspace/bench/dispatch"
	"github.com/streamspace/streamspace/bench/pages"
	"github.com/streamspace/streamspace/bench/relay"
	"github.com/streamspace/streamspace/bench/socketagent"
	"github.com/streamspace/streamspace/bench/source"
)

// role is what this program is when a benchmark runs it again: a process of its
// own for what must not share the benchmark's. It prints ready and works until
// ctx ends.
type role func(ctx context.Context, arguments []string) error

// find gives the role that the first argument names, or nil.
func find(arguments []string) role {
	if len(arguments) == 0 {
		return nil
	}
	return map[string]role{"source": serveSource, "relay": serveRelay, "agent": runAgent, "pages": servePages,
		"hub": serveHub, "bare": serveBare, "fleet": runFleet}[arguments[0]]
}

// sayReady prints the line that the benchmark waits for.
func sayReady(details ...any) {
	fmt.Println(append([]any{"ready"}, details...)...)
}

func serveHub(ctx context.Context, arguments []string) error {
	return dispatch.ServeHub(ctx, arguments, func(address string) { sayReady(address) })
}

func serveBare(ctx context.Context, _ []string) error {
	return dispatch.ServeBare(ctx, func(address string) { sayReady(address) })
}

func runFleet(ctx context.Context, arguments []string) error {
	return dispatch.RunFleet(ctx, arguments, func() { sayReady() })
}

func serveSource(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("source", flag.ContinueOnError)
	dir := flags.String("dir", "", "directory of the sockets")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	return source.Serve(ctx, *dir, func() { sayReady() })
}

func servePages(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("pages", flag.ContinueOnError)
	dir := flags.String("dir", "", "directory of the socket")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	return pages.Serve(ctx, *dir, func() { sayReady() })
}

func serveRelay(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("relay", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "TCP address to listen on")
	network := flags.String("network", "unix", "tcp or unix, of the target")
	to := flags.String("to", "", "address or socket to relay to")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	sayReady(listener.Addr())
	return relay.Serve(ctx, listener, *network, *to)
}

func runAgent(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	var config socketagent.Config
	flags.StringVar(&config.Server, "server", "", "the control plane's URL")
	flags.StringVar(&config.ID, "id", "", "the agent's name")
	flags.StringVar(&config.Dir, "dir", "", "the agent's directory")
	flags.StringVar(&config.Sockets, "sockets", "", "directory of the sockets")
	keyFile := flags.String("key-file", "", "file that holds the agent's key")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	key, err := os.ReadFile(*keyFile)
	if err != nil {
		return fmt.Errorf("read the agent's key: %w", err)
	}
	config.Key = string(key)
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return socketagent.Run(ctx, config, func() { sayReady() })
}
