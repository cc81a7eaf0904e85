// Package cli is the command line: it reads flags and the environment, calls
// the control plane through client, and shows the answers as tables for people
// or as JSON for programs. The long-running programs themselves are handed in.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/streamspace/streamspace/internal/config"
)

// The exit statuses.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// Streams are what a command reads and writes.
type Streams struct {
	Out, Err io.Writer
	// Environment is os.LookupEnv outside of tests.
	Environment config.Lookup
}

// Version tells what was built.
type Version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Date     string `json:"date,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Programs are the commands that run until ctx ends. They get a configuration
// that is valid.
type Programs struct {
	Up      func(ctx context.Context, configuration config.Up, streams Streams) error
	Server  func(ctx context.Context, configuration config.Server, streams Streams) error
	Agent   func(ctx context.Context, configuration config.Agent, streams Streams) error
	Migrate func(ctx context.Context, configuration config.Migrate, streams Streams) error
	Version Version
}

// usageError is a mistake on the command line or in the environment.
type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// Run runs the command that args name and gives the exit status: 0 when it
// succeeded, 1 when it failed, 2 for mistakes on the command line, 130 when it
// was interrupted. Errors are written to streams.Err.
func Run(ctx context.Context, args []string, programs Programs, streams Streams) int {
	root := newRoot(programs, streams)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		report(streams.Err, err)
		_, _ = fmt.Fprintf(streams.Err, "See: %s --help\n", usage.command)
		return exitUsage
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupted
	}
	report(streams.Err, err)
	return exitFailed
}

// report writes an error; joined ones a line each.
func report(w io.Writer, err error) {
	_, _ = fmt.Fprintf(w, "Error: %v\n", err)
}

func newRoot(programs Programs, streams Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "streamspace",
		Short: "Desktops, browsers and terminals in your browser",
		Long: "StreamSpace runs desktops, browsers and terminals on your machines and shows them in a web browser.\n\n" +
			"Begin with: streamspace up",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArguments,
		RunE:          func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error { return mistaken(command, err) })
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupUse, Title: "Use:"},
		&cobra.Group{ID: groupMore, Title: "More:"},
	)
	root.AddCommand(
		newUp(programs, streams), newServer(programs, streams), newAgent(programs, streams), newMigrate(programs, streams),
		newSession(streams), newAgents(streams), newCommands(streams), newReconciler(streams), newTemplates(streams),
		newVersion(programs.Version, streams),
	)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, command := range root.Commands() {
		if command.GroupID == "" {
			command.GroupID = groupMore
		}
	}
	return root
}

// The groups of commands in the help.
const (
	groupRun  = "run"
	groupUse  = "use"
	groupMore = "more"
)

func mistaken(command *cobra.Command, err error) error {
	return &usageError{err: err, command: command.CommandPath()}
}

// noArguments refuses arguments, and names a wrong subcommand as such.
func noArguments(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if command.HasAvailableSubCommands() {
		message := fmt.Sprintf("there is no command %q", command.CommandPath()+" "+args[0])
		command.SuggestionsMinimumDistance = 2
		if near := command.SuggestionsFor(args[0]); len(near) > 0 {
			message += fmt.Sprintf("; did you mean %q?", command.CommandPath()+" "+near[0])
		}
		return mistaken(command, errors.New(message))
	}
	return mistaken(command, fmt.Errorf("%s takes no argument, and %q is one", command.CommandPath(), args[0]))
}

// arguments requires from least to most arguments of the given name.
func arguments(name string, least, most int) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return mistaken(command, fmt.Errorf("%s needs a %s", command.CommandPath(), name))
		case len(args) > most:
			return mistaken(command, fmt.Errorf("%s takes one %s, and %d were given", command.CommandPath(), name, len(args)))
		}
		return nil
	}
}

// settle takes from the environment what the command line did not say, and
// validates.
func settle(command *cobra.Command, flags *pflag.FlagSet, streams Streams, validate func() error) error {
	if err := config.FromEnvironment(flags, streams.Environment); err != nil {
		return mistaken(command, err)
	}
	if err := validate(); err != nil {
		return mistaken(command, err)
	}
	return nil
}
