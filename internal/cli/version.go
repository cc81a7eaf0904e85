package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/internal/config"
)

func newVersion(version Version, streams Streams) *cobra.Command {
	caller := &caller{streams: streams}
	command := &cobra.Command{Use: "version", Short: "Show which version this is", Args: noArguments}
	command.Flags().StringVarP(&caller.configuration.Output, "output", "o", config.OutputTable, "table, for people, or json, for programs")
	config.Describe(command.Flags())
	command.RunE = func(command *cobra.Command, _ []string) error {
		validate := func() error {
			shown := config.NewClient()
			shown.Output = caller.configuration.Output
			return shown.Validate()
		}
		if err := settle(command, command.Flags(), streams, validate); err != nil {
			return err
		}
		return caller.show(version, func(w io.Writer) error {
			var details []string
			for _, detail := range []string{version.Commit, version.Date, version.Go, version.Platform} {
				if detail != "" {
					details = append(details, detail)
				}
			}
			if _, err := fmt.Fprintf(w, "streamspace %s (%s)\n", version.Version, strings.Join(details, ", ")); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
			return nil
		})
	}
	return command
}
