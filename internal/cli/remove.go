package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/internal/config"
)

func newAgentsRemove(caller *caller) *cobra.Command {
	var force bool
	command := &cobra.Command{
		Use: "remove AGENT", Short: "Remove an agent that is gone for good",
		Long: "Says that the agent will not come back and that nothing runs there any more. Its keys no longer work. Its\n" +
			"sessions fail, are placed anew, or move to an agent that shares their home, as their templates say; with\n" +
			"sessions on it, --force is needed. An agent that is connected and has sessions has to be stopped first.\n\n" +
			"Made a key anew, an agent of that name may register again, and is told to stop what it still runs.",
		Example: "  streamspace agents remove build-7 --force",
		Args:    arguments("agent id", 1, 1), ValidArgsFunction: caller.completeAgents,
	}
	command.Flags().BoolVar(&force, "force", false, "remove it although sessions are on it")
	config.Prefix(command.Flags(), "remove", "force")
	config.Describe(command.Flags())
	command.RunE = func(command *cobra.Command, args []string) error {
		api, err := caller.connect(command)
		if err != nil {
			return err
		}
		removed, err := api.RemoveAgent(command.Context(), args[0], force)
		if err != nil {
			return caller.explain(command.Context(), err)
		}
		return caller.show(removed, func(w io.Writer) error {
			if err := line(w, removed.AgentID+": removed"); err != nil {
				return err
			}
			for _, session := range removed.Sessions {
				if err := line(w, fmt.Sprintf("session %s: %s, %s", session.ID, session.State, orElse(session.Reason, "-"))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return command
}
