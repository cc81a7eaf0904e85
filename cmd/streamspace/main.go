// Command streamspace runs desktops, browsers and terminals on your machines
// and shows them in a web browser. See: streamspace --help
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/streamspace/streamspace/agent/driver/process"
	"github.com/streamspace/streamspace/internal/cli"
	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/internal/server"
)

// version is set by the linker for releases; otherwise it is what the module
// says of itself.
var version string

func main() { os.Exit(run()) }

func run() int {
	// A supervisor is the parent of one session and outlives everything else:
	// it gets nothing of the rest of this program.
	if len(os.Args) > 1 && os.Args[1] == process.SuperviseCommand {
		return process.Supervise(os.Args[2:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks for an orderly end. The second one finds the
	// system's own handling, which ends the process at once; nothing is lost
	// by that, as after a crash.
	defer context.AfterFunc(ctx, stop)()

	built := buildVersion(version)
	return cli.Run(ctx, os.Args[1:], cli.Programs{
		Up: func(ctx context.Context, configuration config.Up, streams cli.Streams) error {
			return server.Up(ctx, configuration, built.Version, serverStreams(ctx, streams))
		},
		Server: func(ctx context.Context, configuration config.Server, streams cli.Streams) error {
			return server.Run(ctx, configuration, built.Version, serverStreams(ctx, streams))
		},
		Agent: func(ctx context.Context, configuration config.Agent, streams cli.Streams) error {
			return server.RunAgent(ctx, configuration, built.Version, serverStreams(ctx, streams))
		},
		Migrate: func(ctx context.Context, configuration config.Migrate, streams cli.Streams) error {
			return server.Migrate(ctx, configuration, server.Streams{Out: streams.Out, Err: streams.Err})
		},
		Version: built,
	}, cli.Streams{Out: os.Stdout, Err: os.Stderr, Environment: os.LookupEnv})
}

// serverStreams also says, when the first signal comes, what the second does.
func serverStreams(ctx context.Context, streams cli.Streams) server.Streams {
	context.AfterFunc(ctx, func() {
		_, _ = fmt.Fprintln(streams.Err, "Stopping. Once more stops at once.")
	})
	return server.Streams{Out: streams.Out, Err: streams.Err}
}
