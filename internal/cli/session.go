package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/models"
)

func newSession(streams Streams) *cobra.Command {
	caller := &caller{streams: streams}
	command := &cobra.Command{
		Use: "session", Aliases: []string{"sessions"}, Short: "Launch, see, open, hibernate and stop sessions", GroupID: groupUse,
		Args: noArguments, RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	caller.bind(command)
	command.AddCommand(newLaunch(caller), newSessionList(caller), newSessionShow(caller), newSessionEvents(caller), newSessionExplain(caller), newSessionStop(caller),
		newSessionHibernate(caller), newSessionWake(caller), newSessionOpen(caller))
	return command
}

func newLaunch(caller *caller) *cobra.Command {
	var request client.LaunchRequest
	var resources client.Resources
	var wait, explain bool
	var timeout, patience, idleTimeout, maxDuration time.Duration
	command := &cobra.Command{
		Use: "launch TEMPLATE", Short: "Launch a session",
		Long: "Launches a session of a template and prints its id. With --id it is safe to repeat:\n" +
			"the same request launches once. A session that no agent can take now waits for one.",
		Example:           "  streamspace session launch desktop --wait",
		Args:              arguments("template (see: streamspace templates list)", 1, 1),
		ValidArgsFunction: caller.completeTemplates,
	}
	flags := command.Flags()
	flags.StringVar(&request.ID, "id", "", "id of the session: lower case letters, digits and dashes; made up otherwise")
	flags.StringVar(&request.Name, "name", "", "name shown to people; the template's title otherwise")
	flags.StringVar(&request.Region, "region", "", "only agents of this region")
	flags.StringVar(&request.ClusterID, "cluster-id", "", "only agents of this cluster")
	flags.StringVar(&request.Platform, "platform", "", "only agents of this platform, e.g. process")
	flags.StringVar(&request.Labels, "labels", "", "only agents with such labels, e.g. disk=ssd,zone in (a,b),!spot")
	flags.StringSliceVar(&request.PreferredRegions, "prefer-region", nil, "regions that are liked; others will do")
	flags.StringSliceVar(&request.PreferredClusters, "prefer-cluster", nil, "clusters that are liked; others will do")
	flags.StringVar(&request.Strategy, "strategy", "", "least-loaded, the agent with the fewest sessions, or bin-pack, the one that is fullest afterwards")
	flags.StringVar(&request.SpreadOver, "spread-over", "", "region or cluster: prefer those with fewer sessions")
	flags.BoolVar(&explain, "explain", false, "launch nothing, and say which agents could take it and why the others could not")
	flags.StringVar(&resources.CPU, "cpu", "", "cores, e.g. 500m or 2; the template's otherwise")
	flags.StringVar(&resources.Memory, "memory", "", "memory, e.g. 512Mi or 2Gi; the template's otherwise")
	flags.Int64Var(&resources.GPUs, "gpus", 0, "whole GPUs; the template's otherwise")
	flags.Int64Var(&request.Priority, "priority", 0, "comes before age among sessions that wait for an agent: -100 to 100, higher first")
	flags.DurationVar(&patience, "agent-wait", 10*time.Minute, "how long the session may wait for an agent that can take it; 0 is not at all")
	flags.DurationVar(&idleTimeout, "idle-timeout", 0, "end it after so long unused, e.g. 30m; the template's otherwise, which it can only shorten")
	flags.DurationVar(&maxDuration, "max-duration", 0, "end it after running so long, e.g. 8h; the template's otherwise, which it can only shorten")
	flags.BoolVar(&wait, "wait", false, "wait until it runs")
	flags.DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait")
	config.Prefix(flags, "session", "id", "name", "region", "cluster-id", "platform", "cpu", "memory", "gpus", "priority", "agent-wait", "idle-timeout", "max-duration",
		"labels", "prefer-region", "prefer-cluster", "strategy", "spread-over", "explain")
	config.Describe(flags)
	command.RunE = func(command *cobra.Command, args []string) error {
		api, err := caller.connect(command)
		if err != nil {
			return err
		}
		request.Template = args[0]
		if resources != (client.Resources{}) {
			request.Resources = &resources
		}
		if flags.Changed("agent-wait") || patience != 10*time.Minute {
			seconds := int64(patience.Round(time.Second).Seconds())
			request.WaitSeconds = &seconds
		}
		if flags.Changed("idle-timeout") || idleTimeout != 0 {
			request.IdleTimeout = models.FormatDuration(idleTimeout)
		}
		if flags.Changed("max-duration") || maxDuration != 0 {
			request.MaxDuration = models.FormatDuration(maxDuration)
		}
		if explain {
			explanation, err := api.ExplainLaunch(command.Context(), request)
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.show(explanation, func(w io.Writer) error { return showExplanation(w, explanation) })
		}
		session, err := api.Launch(command.Context(), request)
		if err == nil && session.Waiting() {
			if _, err := fmt.Fprintf(caller.streams.Err, "It waits for an agent%s: %s\n", place(session), session.Reason); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
		}
		if err == nil && wait {
			session, err = caller.await(command.Context(), api, session, timeout, func(session client.Session) bool {
				return session.State == models.SessionRunning || session.State.Terminal()
			})
		}
		if err != nil {
			return caller.explain(command.Context(), err)
		}
		if err := caller.show(session, func(w io.Writer) error { return line(w, session.ID) }); err != nil {
			return err
		}
		if session.State.Terminal() {
			return fmt.Errorf("session %s is %s: %s", session.ID, session.State, orElse(session.Reason, "it was stopped"))
		}
		return nil
	}
	return command
}

func newSessionList(caller *caller) *cobra.Command {
	var ended bool
	var limit int
	command := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List sessions, newest first", Args: noArguments,
	}
	command.Flags().BoolVarP(&ended, "all", "a", false, "those that have ended too")
	command.Flags().IntVar(&limit, "limit", 0, "most sessions to list; 0 is no limit")
	config.Describe(command.Flags())
	command.RunE = func(command *cobra.Command, _ []string) error {
		api, err := caller.connect(command)
		if err != nil {
			return err
		}
		var filter client.SessionFilter
		for _, state := range models.SessionStates() {
			if !ended && !state.Terminal() {
				filter.States = append(filter.States, state)
			}
		}
		sessions, err := all(limit, func(page client.Page) (client.List[client.Session], error) {
			filter.Page = page
			return api.Sessions(command.Context(), filter)
		})
		if err != nil {
			return caller.explain(command.Context(), err)
		}
		return caller.show(sessions, func(w io.Writer) error {
			if len(sessions) == 0 {
				return line(w, "There are no sessions. Launch one with: streamspace session launch TEMPLATE")
			}
			now := time.Now()
			var rows [][]string
			for _, session := range sessions {
				rows = append(rows, []string{session.ID, session.Name, session.Template, seen(session), session.AgentID,
					session.User, age(now, session.CreatedAt), strings.TrimSpace(place(session) + " " + cmp.Or(progress(session), session.Reason))})
			}
			return table(w, []string{"ID", "NAME", "TEMPLATE", "STATE", "AGENT", "USER", "AGE", "REASON"}, rows)
		})
	}
	return command
}

func newSessionShow(caller *caller) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one session and what happened to it", Args: arguments("session id", 1, 1),
		ValidArgsFunction: caller.completeSessions,
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			session, err := api.Session(ctx, args[0])
			if err != nil {
				return caller.explain(ctx, err)
			}
			if caller.json() {
				return writeJSON(caller.streams.Out, session)
			}
			events, err := all(0, func(page client.Page) (client.List[client.Event], error) {
				return api.SessionEvents(ctx, args[0], page)
			})
			if err != nil {
				return caller.explain(ctx, err)
			}
			return showSession(caller.streams.Out, session, events)
		},
	}
}

// place is the session's in the queue of those that wait for an agent.
func place(session client.Session) string {
	if session.Queue == nil {
		return ""
	}
	return fmt.Sprintf(" (%d of %d)", session.Queue.Place, session.Queue.Of)
}

// progress is how far the session's start is, or nothing.
func progress(session client.Session) string {
	if session.Progress == nil {
		return ""
	}
	return session.Progress.String()
}

// seen is the session's state, as far as it can be seen.
func seen(session client.Session) string {
	if session.Unreachable != nil {
		return string(session.State) + " (unreachable)"
	}
	return string(session.State)
}

// away says why the session cannot be reached, since when, and what that means.
func away(session client.Session) string {
	if session.Unreachable == nil {
		return ""
	}
	said := session.Unreachable.Reason
	if since := session.Unreachable.Since; since != nil {
		said += "; it was last heard of at " + since.Local().Format(time.DateTime)
	}
	return said + ". What runs there keeps running"
}

func showSession(w io.Writer, session client.Session, events []client.Event) error {
	state := seen(session)
	if string(session.DesiredState) != string(session.State) {
		state += ", wanted " + string(session.DesiredState)
	}
	var limits []string
	if session.Resources.CPU != "" {
		limits = append(limits, session.Resources.CPU+" cpu")
	}
	if session.Resources.Memory != "" {
		limits = append(limits, session.Resources.Memory+" memory")
	}
	if session.Resources.GPUs != 0 {
		limits = append(limits, fmt.Sprintf("%d gpus", session.Resources.GPUs))
	}
	var waits string
	if session.Waiting() {
		waits = fmt.Sprintf("for an agent%s, until %s", place(session), session.WaitUntil.Local().Format(time.DateTime))
	}
	var failures []string
	for _, failure := range session.Failures {
		failures = append(failures, fmt.Sprintf("%s: %s", failure.AgentID, failure.Reason))
	}
	var losses []string
	for _, loss := range session.Losses {
		losses = append(losses, fmt.Sprintf("%s on %s (%s)", loss.At.Local().Format(time.DateTime), loss.AgentID, loss.Remedy))
	}
	reason := session.Reason
	if reason != "" && session.ReasonCode != "" {
		reason += " (" + string(session.ReasonCode) + ")"
	}
	err := fields(w,
		[2]string{"Session", session.ID}, [2]string{"Name", session.Name}, [2]string{"Template", session.Template},
		[2]string{"User", session.User}, [2]string{"State", state}, [2]string{"Progress", progress(session)}, [2]string{"Unreachable", away(session)}, [2]string{"Reason", reason}, [2]string{"Waits", waits},
		[2]string{"Failed on", strings.Join(failures, "; ")}, [2]string{"Lost", strings.Join(losses, "; ")},
		[2]string{"Agent", session.AgentID}, [2]string{"Platform", session.Platform}, [2]string{"Region", session.Region},
		[2]string{"Limits", strings.Join(limits, ", ")}, [2]string{"Time limits", timeLimits(session.TimeLimits)}, [2]string{"Ends", ending(session, time.Now())},
		[2]string{"Launched", session.CreatedAt.Local().Format(time.DateTime)})
	if err != nil || len(events) == 0 {
		return err
	}
	if err := line(w, ""); err != nil {
		return err
	}
	return showEvents(w, events)
}

// newSessionEvents shows the history alone, also to programs.
func newSessionEvents(caller *caller) *cobra.Command {
	return &cobra.Command{
		Use: "events ID", Short: "List what happened to a session: when, by whom and why", Args: arguments("session id", 1, 1),
		ValidArgsFunction: caller.completeSessions,
		RunE: func(command *cobra.Command, args []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			events, err := all(0, func(page client.Page) (client.List[client.Event], error) {
				return api.SessionEvents(command.Context(), args[0], page)
			})
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.show(events, func(w io.Writer) error { return showEvents(w, events) })
		},
	}
}

func showEvents(w io.Writer, events []client.Event) error {
	var rows [][]string
	for _, event := range events {
		rows = append(rows, []string{event.At.Local().Format("2006-01-02 15:04:05.000"), event.From, event.To, event.Actor, event.Reason})
	}
	return table(w, []string{"WHEN", "FROM", "TO", "BY", "REASON"}, rows)
}

// each does something to sessions one after the other, and shows those that
// could be.
func (c *caller) each(ctx context.Context, ids []string, do func(id string) (client.Session, error)) error {
	done := []client.Session{}
	var problems []error
	for _, id := range ids {
		session, err := do(id)
		if err != nil {
			problems = append(problems, c.explain(ctx, err))
			continue
		}
		done = append(done, session)
	}
	err := c.show(done, func(w io.Writer) error {
		for _, session := range done {
			if err := line(w, session.ID+" "+string(session.State)); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(append(problems, err)...)
}

func newSessionStop(caller *caller) *cobra.Command {
	var wait bool
	var timeout time.Duration
	command := &cobra.Command{
		Use: "stop ID…", Short: "Stop sessions, in whatever state they are", Args: arguments("session id", 1, 1000),
		ValidArgsFunction: caller.completeSessions,
	}
	command.Flags().BoolVar(&wait, "wait", false, "wait until they have ended")
	command.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait")
	config.Describe(command.Flags())
	command.RunE = func(command *cobra.Command, args []string) error {
		ctx := command.Context()
		api, err := caller.connect(command)
		if err != nil {
			return err
		}
		return caller.each(ctx, args, func(id string) (client.Session, error) {
			session, err := api.Stop(ctx, id)
			if err == nil && wait {
				session, err = caller.await(ctx, api, session, timeout, func(session client.Session) bool {
					return session.State.Terminal()
				})
			}
			return session, err
		})
	}
	return command
}

func newSessionOpen(caller *caller) *cobra.Command {
	var direct bool
	command := &cobra.Command{
		Use: "open ID", Short: "Print a link that signs a browser in and opens the session",
		Long: "Prints a link that signs a browser in as you, once, and shows the session. Whoever has the link\n" +
			"can use it, so give it to nobody else.",
		Args: arguments("session id", 1, 1), ValidArgsFunction: caller.completeSessions,
		RunE: func(command *cobra.Command, args []string) error {
			ctx := command.Context()
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			session, err := api.Session(ctx, args[0])
			if err != nil {
				return caller.explain(ctx, err)
			}
			if session.State.Terminal() {
				return fmt.Errorf("session %s is %s: %s", session.ID, session.State, orElse(session.Reason, "it was stopped"))
			}
			if direct {
				return caller.openPages(ctx, api, session.ID)
			}
			link, err := api.LoginLink(ctx)
			if err != nil {
				return caller.explain(ctx, err)
			}
			address, err := url.Parse(link.URL)
			if err != nil {
				return fmt.Errorf("the server gave a login link that is no URL: %w", err)
			}
			query := address.Query()
			query.Set("next", "/sessions/"+session.ID)
			address.RawQuery = query.Encode()
			link.URL = address.String()
			return caller.show(link, func(w io.Writer) error { return line(w, link.URL) })
		},
	}
	command.Flags().BoolVar(&direct, "direct", false, "for a session that is web pages: a link to these themselves, once and within a minute, and not to the console")
	config.Describe(command.Flags())
	return command
}

// openPages prints where a ticket opens the session's pages.
func (c *caller) openPages(ctx context.Context, api *client.Client, id string) error {
	ticket, err := api.Ticket(ctx, id)
	if err != nil {
		return c.explain(ctx, err)
	}
	if ticket.URL == "" {
		return fmt.Errorf("session %s has no pages of its own; leave --direct out", id)
	}
	return c.show(ticket, func(w io.Writer) error { return line(w, ticket.URL) })
}

// await follows the session until done says so, and gives it as it then is.
func (c *caller) await(ctx context.Context, api *client.Client, session client.Session, timeout time.Duration,
	done func(client.Session) bool,
) (client.Session, error) {
	if done(session) {
		return session, nil
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	reached := errors.New("reached")
	err := api.Watch(within, func(change client.Change) error {
		found := false
		if change.Session != nil {
			if change.Session.ID != session.ID {
				return nil
			}
			session, found = *change.Session, true
		}
		for _, known := range change.Snapshot {
			if known.ID == session.ID {
				session, found = known, true
			}
		}
		if !found {
			// A snapshot leaves out what has ended.
			var err error
			if session, err = api.Session(within, session.ID); err != nil {
				return err
			}
		}
		if done(session) {
			return reached
		}
		return nil
	})
	switch {
	case errors.Is(err, reached):
		return session, nil
	case ctx.Err() == nil && within.Err() != nil:
		return session, &waitError{session: session, waited: timeout}
	}
	return session, err
}

// waitError tells that a session did not get there in time.
type waitError struct {
	session client.Session
	waited  time.Duration
}

func (e *waitError) Error() string {
	message := fmt.Sprintf("session %s is still %s after %v", e.session.ID, e.session.State, e.waited)
	if e.session.Reason != "" {
		message += ": " + e.session.Reason
	}
	return message + "\nIt goes on by itself; look with: streamspace session show " + e.session.ID
}

func line(w io.Writer, text string) error {
	if _, err := fmt.Fprintln(w, text); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
