package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newReconciler(streams Streams) *cobra.Command {
	caller := &caller{streams: streams}
	command := &cobra.Command{
		Use: "reconciler", Short: "Show which replica sets right what is stuck, how much is, and what is held back", GroupID: groupUse,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			status, err := api.Reconciler(command.Context())
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.show(status, func(w io.Writer) error {
				holder := status.Holder
				switch {
				case holder == "":
					holder = "no replica just now; another one takes over within seconds"
				case status.Here:
					holder += " (the one that answers)"
				}
				held := "nothing"
				if status.Hold != "" {
					held = status.Hold
				}
				return fields(w, [2]string{"Replica", holder}, [2]string{"Epoch", fmt.Sprint(status.Epoch)},
					[2]string{"Lease until", moment(status.ExpiresAt)}, [2]string{"Last pass", moment(status.PassedAt)},
					[2]string{"Stuck", stuck(status.Stuck)}, [2]string{"Held back", held}, [2]string{"Since", moment(status.HoldSince)})
			})
		},
	}
	caller.bind(command)
	return command
}

// stuck says how many are stuck in which states.
func stuck(counts map[string]int) string {
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		if counts[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}
