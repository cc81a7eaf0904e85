package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/client"
)

func newSessionExplain(caller *caller) *cobra.Command {
	return &cobra.Command{
		Use: "explain ID", Short: "Say why a session is on its agent, waits, or was refused",
		Long: "Lists every agent: with its score, and the parts of it, when it could take the session, or else\n" +
			"with the reasons why not. For a session that waits it is as things are now, for others as they\n" +
			"were then. `session launch --explain` says it of a session that is not launched.",
		Args: arguments("session id", 1, 1), ValidArgsFunction: caller.completeSessions,
		RunE: func(command *cobra.Command, args []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			explanation, err := api.ExplainSession(command.Context(), args[0])
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.show(explanation, func(w io.Writer) error { return showExplanation(w, explanation) })
		},
	}
}

func showExplanation(w io.Writer, explanation client.Explanation) error {
	outcome := explanation.Outcome
	if explanation.AgentID != "" {
		outcome += " on " + explanation.AgentID
	}
	if err := line(w, outcome); err != nil {
		return err
	}
	rows := make([][]string, 0, len(explanation.Agents))
	for _, agent := range explanation.Agents {
		row := []string{agent.AgentID, "", ""}
		if agent.Score != nil {
			row[1] = fmt.Sprintf("%.3f", agent.Score.Total)
			var parts []string
			for _, name := range slices.Sorted(maps.Keys(agent.Score.Parts)) {
				parts = append(parts, fmt.Sprintf("%s %.3f", name, agent.Score.Parts[name]))
			}
			row[2] = strings.Join(parts, ", ")
		} else {
			var reasons []string
			for _, rejection := range agent.Rejections {
				reasons = append(reasons, fmt.Sprintf("%s (%s)", rejection.Detail, rejection.Code))
			}
			row[2] = strings.Join(reasons, "; ")
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return line(w, "There was no agent.")
	}
	if err := table(w, []string{"AGENT", "SCORE", "WHY"}, rows); err != nil {
		return err
	}
	if explanation.Left > 0 {
		return line(w, fmt.Sprintf("and %d agents more", explanation.Left))
	}
	return nil
}
