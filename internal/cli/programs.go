package cli

import (
	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/internal/config"
)

func newUp(programs Programs, streams Streams) *cobra.Command {
	configuration := config.NewUp()
	command := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine, and print a link that signs you in",
		Long: "Runs the control plane and an agent in one process. The last line that it prints is a link which\n" +
			"signs your browser in, once. Sessions outlive it: start it again and they are back.",
		Example: "  streamspace up\n  streamspace up --data-dir ./data --listen 127.0.0.1:9000",
		GroupID: groupRun,
		Args:    noArguments,
	}
	configuration.Bind(command.Flags())
	config.Describe(command.Flags())
	command.RunE = func(command *cobra.Command, _ []string) error {
		if err := settle(command, command.Flags(), streams, func() error { return configuration.Validate() }); err != nil {
			return err
		}
		return programs.Up(command.Context(), configuration, streams)
	}
	return command
}

func newServer(programs Programs, streams Streams) *cobra.Command {
	configuration := config.NewServer()
	command := &cobra.Command{
		Use:     "server",
		Short:   "Run the control plane, for agents elsewhere",
		Example: "  streamspace server --listen 0.0.0.0:8080 --database postgres://streamspace@db/streamspace",
		GroupID: groupRun,
		Args:    noArguments,
	}
	configuration.Bind(command.Flags())
	config.Describe(command.Flags())
	command.RunE = func(command *cobra.Command, _ []string) error {
		if err := settle(command, command.Flags(), streams, func() error { return configuration.Validate() }); err != nil {
			return err
		}
		return programs.Server(command.Context(), configuration, streams)
	}
	return command
}

func newAgent(programs Programs, streams Streams) *cobra.Command {
	configuration := config.NewAgent()
	command := &cobra.Command{
		Use:   "agent",
		Short: "Run an agent: sessions on this machine, for a control plane elsewhere",
		Long: "Runs an agent, which dials out to the control plane and runs sessions on this machine.\n" +
			"Make its key first, where the control plane's admin is: streamspace agents key ID",
		Example: "  streamspace agent --server https://streamspace.example.org --id build-7 --key-file agent.key",
		GroupID: groupRun,
		Args:    noArguments,
	}
	configuration.Bind(command.Flags())
	config.Describe(command.Flags())
	command.RunE = func(command *cobra.Command, _ []string) error {
		if key, set := streams.Environment(config.EnvAgentKey); set {
			configuration.Key = key
		}
		if err := settle(command, command.Flags(), streams, func() error { return configuration.Validate() }); err != nil {
			return err
		}
		return programs.Agent(command.Context(), configuration, streams)
	}
	return command
}

func newMigrate(programs Programs, streams Streams) *cobra.Command {
	configuration := config.NewMigrate()
	command := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database to this version's form, without serving",
		Long: "Brings the database to the form that this version needs. `up` and `server` do the same when they start;\n" +
			"this is for doing it beforehand.",
		GroupID: groupRun,
		Args:    noArguments,
	}
	configuration.Bind(command.Flags())
	config.Describe(command.Flags())
	command.RunE = func(command *cobra.Command, _ []string) error {
		if err := settle(command, command.Flags(), streams, func() error { return configuration.Validate() }); err != nil {
			return err
		}
		return programs.Migrate(command.Context(), configuration, streams)
	}
	return command
}
