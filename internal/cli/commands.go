package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
)

func newCommands(streams Streams) *cobra.Command {
	caller := &caller{streams: streams}
	command := &cobra.Command{
		Use: "commands", Short: "See what agents were told, and what became of it", GroupID: groupUse,
		Args: noArguments, RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	caller.bind(command)
	command.AddCommand(newCommandsList(caller), newCommandsShow(caller))
	return command
}

func newCommandsList(caller *caller) *cobra.Command {
	var filter client.CommandFilter
	var limit int
	command := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List commands, the newest first", Args: noArguments,
		Example: "  streamspace commands list --status pending\n  streamspace commands list --session my-desktop",
		RunE: func(command *cobra.Command, _ []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			commands, err := all(limit, func(page client.Page) (client.List[client.Command], error) {
				filter.Page = page
				return api.Commands(command.Context(), filter)
			})
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.show(commands, func(w io.Writer) error {
				if len(commands) == 0 {
					_, err := fmt.Fprintln(w, "There are no such commands.")
					return err
				}
				now := time.Now()
				var rows [][]string
				for _, one := range commands {
					rows = append(rows, []string{one.CommandID, one.Action, one.Status, one.SessionID, one.AgentID,
						strconv.Itoa(one.Attempts), age(now, one.CreatedAt), one.ErrorMessage})
				}
				return table(w, []string{"ID", "ACTION", "STATUS", "SESSION", "AGENT", "SENT", "AGE", "ERROR"}, rows)
			})
		},
	}
	flags := command.Flags()
	flags.StringVar(&filter.Status, "status", "", "only those that are pending, sent, ack, completed or failed")
	flags.StringVar(&filter.SessionID, "session", "", "only those about this session")
	flags.StringVar(&filter.AgentID, "agent", "", "only those for this agent")
	flags.IntVar(&limit, "limit", 50, "most to list; 0 is all")
	_ = command.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(models.CommandStates(), cobra.ShellCompDirectiveNoFileComp))
	_ = command.RegisterFlagCompletionFunc("agent", caller.completeAgents)
	return command
}

func newCommandsShow(caller *caller) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one command: what it asks, when it was sent, acknowledged and ended", Args: arguments("command id", 1, 1),
		RunE: func(command *cobra.Command, args []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			one, err := api.Command(command.Context(), args[0])
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.show(one, func(w io.Writer) error {
				return fields(w,
					[2]string{"Command", one.CommandID}, [2]string{"Action", one.Action}, [2]string{"Status", one.Status},
					[2]string{"Agent", one.AgentID}, [2]string{"Session", one.SessionID},
					[2]string{"Generation", strconv.FormatInt(one.Generation, 10)}, [2]string{"Times sent", strconv.Itoa(one.Attempts)},
					[2]string{"Created", moment(&one.CreatedAt)}, [2]string{"Sent", moment(one.SentAt)},
					[2]string{"Acknowledged", moment(one.AcknowledgedAt)}, [2]string{"Ended", moment(one.CompletedAt)},
					[2]string{"Deadline", moment(&one.DeadlineAt)}, [2]string{"Error", one.ErrorMessage}, [2]string{"Result", compact(one.Result)})
			})
		},
	}
}

// moment is a time for people, to the millisecond, or nothing.
func moment(at *time.Time) string {
	if at == nil || at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04:05.000")
}

// compact is a result on one line.
func compact(result *models.CommandPayload) string {
	if result == nil {
		return ""
	}
	body, err := json.Marshal(result)
	if err != nil {
		return ""
	}
	return string(body)
}
