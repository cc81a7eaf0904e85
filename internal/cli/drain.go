package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/models"
)

// drainLook is the time between two looks at an agent that is waited for.
const drainLook = time.Second

func newAgentsCordon(caller *caller) *cobra.Command {
	return newAgentsService(caller, "cordon", "Keep new sessions away from an agent",
		"The agent takes no new sessions until it is uncordoned. Those that it has go on.", (*client.Client).CordonAgent)
}

func newAgentsUncordon(caller *caller) *cobra.Command {
	return newAgentsService(caller, "uncordon", "Let an agent take sessions again",
		"Ends the agent's cordon and its drain, whoever asked for them. An agent that says itself that it is\n"+
			"draining is so again with its next heartbeat.", (*client.Client).UncordonAgent)
}

// newAgentsService is a command that changes whether an agent takes sessions.
func newAgentsService(caller *caller, name, short, long string,
	change func(*client.Client, context.Context, string) (client.Agent, error),
) *cobra.Command {
	return &cobra.Command{
		Use: name + " AGENT", Short: short, Long: long, Args: arguments("agent id", 1, 1),
		ValidArgsFunction: caller.completeAgents,
		RunE: func(command *cobra.Command, args []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			agent, err := change(api, command.Context(), args[0])
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.showStanding(agent)
		},
	}
}

func newAgentsDrain(caller *caller) *cobra.Command {
	var deadline time.Duration
	var wait bool
	command := &cobra.Command{
		Use: "drain AGENT", Short: "Take an agent out of service once its sessions have ended",
		Long: "The agent takes no new sessions until it is uncordoned, and those that it has go on until they end. With\n" +
			"--deadline, what is left by then is stopped; what keeps a home hibernates, and is woken on another agent\n" +
			"if one shares the home and has room. Draining again changes the deadline, also to none.\n\n" +
			"With --wait the command returns when no session is left. Ctrl-C ends the waiting and not the drain.",
		Example: "  streamspace agents drain build-7 --deadline 30m --wait\n" +
			"  streamspace agents uncordon build-7",
		Args: arguments("agent id", 1, 1), ValidArgsFunction: caller.completeAgents,
	}
	flags := command.Flags()
	flags.DurationVar(&deadline, "deadline", 0, "stop or hibernate what is left after this time, e.g. 30m; 0 does it now (default none, which leaves it)")
	flags.BoolVar(&wait, "wait", false, "wait until no session is left")
	config.Prefix(flags, "drain", "deadline")
	config.Describe(flags)
	command.RunE = func(command *cobra.Command, args []string) error {
		ctx := command.Context()
		api, err := caller.connect(command)
		if err != nil {
			return err
		}
		var request client.DrainRequest
		if flags.Changed("deadline") {
			if deadline < 0 {
				return mistaken(command, fmt.Errorf("--deadline must be 0 or more, not %v; without it nothing is stopped", deadline))
			}
			seconds := int64((deadline + time.Second - 1) / time.Second)
			request.DeadlineSeconds = &seconds
		}
		agent, err := api.DrainAgent(ctx, args[0], request)
		if err == nil && wait {
			agent, err = caller.awaitDrained(ctx, api, agent)
		}
		if err != nil {
			return caller.explain(ctx, err)
		}
		return caller.showStanding(agent)
	}
	return command
}

// awaitDrained looks at the agent until no session is left there, and says each
// time that there are fewer. A control plane that restarts is waited for.
func (c *caller) awaitDrained(ctx context.Context, api *client.Client, agent client.Agent) (client.Agent, error) {
	look := time.NewTicker(drainLook)
	defer look.Stop()
	told, away := -1, false
	for agent.Sessions > 0 {
		if agent.Sessions != told {
			told = agent.Sessions
			if err := line(c.streams.Err, agent.ID+": "+standing(time.Now(), agent)); err != nil {
				return agent, err
			}
		}
		select {
		case <-ctx.Done():
			// Whoever interrupts has to know what goes on without them.
			_ = line(c.streams.Err, "The drain goes on. End it with: streamspace agents uncordon "+agent.ID)
			return agent, ctx.Err()
		case <-look.C:
		}
		seen, err := api.Agent(ctx, agent.ID)
		switch {
		case ctx.Err() != nil:
			continue
		case err != nil && !unanswered(err):
			return agent, err
		case err != nil && !away:
			away = true
			if err := line(c.streams.Err, agent.ID+": still waiting, although "+err.Error()); err != nil {
				return agent, err
			}
		case err == nil && seen.Status != models.AgentDraining:
			return seen, fmt.Errorf("agent %s is not draining any more, with %s; somebody has uncordoned it", seen.ID, left(seen.Sessions))
		case err == nil:
			agent, away = seen, false
		}
	}
	return agent, nil
}

// unanswered tells whether the control plane is away, or says that it is not
// well. It has answered before, so both may pass.
func unanswered(err error) bool {
	var problem *client.Problem
	return !errors.As(err, &problem) || problem.Status >= http.StatusInternalServerError
}

// showStanding shows an agent after a change of its standing.
func (c *caller) showStanding(agent client.Agent) error {
	return c.show(agent, func(w io.Writer) error { return line(w, agent.ID+": "+standing(time.Now(), agent)) })
}

// standing is the agent's status, and what keeps new sessions away from it.
func standing(now time.Time, agent client.Agent) string {
	switch {
	case agent.Status == models.AgentDraining:
		return "draining, " + left(agent.Sessions) + stops(now, agent) + departed(agent.Drained)
	case agent.Cordoned:
		return agent.Status + ", cordoned"
	case len(agent.Failing) > 0:
		templates := make([]string, 0, len(agent.Failing))
		for _, breaker := range agent.Failing {
			templates = append(templates, breaker.Template)
		}
		return agent.Status + ", keeps failing " + strings.Join(templates, ", ")
	}
	return agent.Status
}

// left counts what a drain waits for.
func left(sessions int) string {
	switch sessions {
	case 0:
		return "no session left"
	case 1:
		return "1 session left"
	}
	return fmt.Sprintf("%d sessions left", sessions)
}

// departed says what a drain has done with sessions, if anything.
func departed(drained *models.Drained) string {
	if drained == nil {
		return ""
	}
	said := ""
	for _, one := range []struct {
		count int
		what  string
	}{{drained.Moved, "moved"}, {drained.Hibernated, "hibernated"}, {drained.Stopped, "stopped"}} {
		if one.count > 0 {
			said += fmt.Sprintf(", %d %s", one.count, one.what)
		}
	}
	return said
}

// stops says when a drain's deadline is, if that matters yet.
func stops(now time.Time, agent client.Agent) string {
	if agent.DrainDeadline == nil || agent.Sessions == 0 {
		return ""
	}
	them := "them"
	if agent.Sessions == 1 {
		them = "it"
	}
	if !agent.DrainDeadline.After(now) {
		return ", stops " + them + " now"
	}
	return ", stops " + them + " in " + ahead(now, *agent.DrainDeadline)
}
