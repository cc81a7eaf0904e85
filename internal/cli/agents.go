package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
)

func newAgents(streams Streams) *cobra.Command {
	caller := &caller{streams: streams}
	command := &cobra.Command{
		Use: "agents", Short: "See the agents, let new ones in, and take them out of service", GroupID: groupUse,
		Args: noArguments, RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	caller.bind(command)
	command.AddCommand(newAgentsList(caller), newAgentsShow(caller), newAgentsKey(caller),
		newAgentsCordon(caller), newAgentsUncordon(caller), newAgentsDrain(caller), newAgentsRemove(caller))
	return command
}

func newAgentsList(caller *caller) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the agents", Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			agents, err := all(0, func(page client.Page) (client.List[client.Agent], error) {
				return api.Agents(command.Context(), page)
			})
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.show(agents, func(w io.Writer) error {
				if len(agents) == 0 {
					_, err := fmt.Fprintln(w, "There are no agents. Make a key for one with: streamspace agents key ID")
					return err
				}
				now := time.Now()
				var rows [][]string
				for _, agent := range agents {
					rows = append(rows, []string{agent.ID, standing(now, agent), agent.Platform, agent.Region, load(agent), heard(now, agent)})
				}
				return table(w, []string{"ID", "STATUS", "PLATFORM", "REGION", "SESSIONS", "HEARD FROM"}, rows)
			})
		},
	}
}

func newAgentsShow(caller *caller) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one agent", Args: arguments("agent id", 1, 1),
		ValidArgsFunction: caller.completeAgents,
		RunE: func(command *cobra.Command, args []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			agent, err := api.Agent(command.Context(), args[0])
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			now := time.Now()
			return caller.show(agent, func(w io.Writer) error {
				return fields(w,
					[2]string{"Agent", agent.ID}, [2]string{"Status", standing(now, agent)}, [2]string{"Platform", agent.Platform},
					[2]string{"Version", version(agent)},
					[2]string{"Region", agent.Region}, [2]string{"Cluster", strings.TrimSpace(agent.ClusterID + " " + agent.ClusterName)},
					[2]string{"Home store", agent.HomeStore}, [2]string{"Sessions", load(agent)}, [2]string{"Has", strings.Join(agent.Facilities, ", ")},
					[2]string{"Connections", strconv.FormatInt(agent.Epoch, 10) + " so far"},
					[2]string{"Heard from", heard(now, agent)}, [2]string{"Registered", agent.CreatedAt.Local().Format(time.DateTime)})
			})
		},
	}
}

func newAgentsKey(caller *caller) *cobra.Command {
	return &cobra.Command{
		Use: "key ID", Short: "Make a key for an agent, which need not exist yet",
		Long: "Makes a key for the agent of that name and prints it, once. Its earlier keys stay valid.",
		Example: "  streamspace agents key build-7 > agent.key\n" +
			"  streamspace agent --server https://streamspace.example.org --id build-7 --key-file agent.key",
		Args:              arguments("name for the agent", 1, 1),
		ValidArgsFunction: caller.completeAgents,
		RunE: func(command *cobra.Command, args []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			key, err := api.CreateAgentKey(command.Context(), args[0])
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.show(key, func(w io.Writer) error {
				if _, err := fmt.Fprintln(w, key.Key); err != nil {
					return fmt.Errorf("write output: %w", err)
				}
				_, err := fmt.Fprintf(caller.streams.Err, "Put it into a file that only the agent may read, and start the agent with:\n"+
					"  streamspace agent --server %s --id %s --key-file FILE\n", caller.configuration.Server, key.AgentID)
				return err
			})
		},
	}
}

// load is the agent's sessions and its limit.
func load(agent client.Agent) string {
	if limit := agent.Limit().Sessions; limit != models.Unlimited {
		return fmt.Sprintf("%d of %d", agent.Sessions, limit)
	}
	return strconv.Itoa(agent.Sessions)
}

// version is what the agent says of its program, if it does.
func version(agent client.Agent) string {
	told, _ := agent.Metadata["version"].(string)
	return told
}

func heard(now time.Time, agent client.Agent) string {
	if agent.LastHeartbeat == nil {
		return "never"
	}
	return age(now, *agent.LastHeartbeat) + " ago"
}
