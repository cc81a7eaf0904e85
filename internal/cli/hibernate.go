package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/models"
)

func newSessionHibernate(caller *caller) *cobra.Command {
	var wait bool
	var timeout time.Duration
	command := &cobra.Command{
		Use: "hibernate ID…", Short: "End the programs of sessions and keep their homes",
		Long: "Ends the programs of sessions and keeps their homes, so that they take nothing until they are woken.\n" +
			"Only sessions of templates with persistentHome can hibernate: of others nothing would be left.",
		Args: arguments("session id", 1, 1000), ValidArgsFunction: caller.completeSessions,
	}
	command.Flags().BoolVar(&wait, "wait", false, "wait until they hibernate")
	command.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait")
	config.Describe(command.Flags())
	command.RunE = func(command *cobra.Command, args []string) error {
		ctx := command.Context()
		api, err := caller.connect(command)
		if err != nil {
			return err
		}
		return caller.each(ctx, args, func(id string) (client.Session, error) {
			session, err := api.Hibernate(ctx, id)
			if err == nil && wait {
				session, err = caller.await(ctx, api, session, timeout, func(session client.Session) bool {
					return session.State != models.SessionHibernating
				})
			}
			return session, err
		})
	}
	return command
}

func newSessionWake(caller *caller) *cobra.Command {
	var wait bool
	var timeout time.Duration
	var request client.WakeRequest
	command := &cobra.Command{
		Use: "wake ID…", Short: "Have hibernated sessions run again",
		Long: "Has hibernated sessions run again, on agents that have their homes. If no such agent can take its\n" +
			"session, --elsewhere lets another one, where the session begins without that home.",
		Args: arguments("session id", 1, 1000), ValidArgsFunction: caller.completeSessions,
	}
	command.Flags().BoolVar(&wait, "wait", false, "wait until they run")
	command.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait")
	command.Flags().BoolVar(&request.Elsewhere, "elsewhere", false, "another agent will do when none that has the home can take the session")
	config.Describe(command.Flags())
	command.RunE = func(command *cobra.Command, args []string) error {
		ctx := command.Context()
		api, err := caller.connect(command)
		if err != nil {
			return err
		}
		return caller.each(ctx, args, func(id string) (client.Session, error) {
			session, err := api.Wake(ctx, id, request)
			if err == nil && wait {
				session, err = caller.await(ctx, api, session, timeout, func(session client.Session) bool {
					return session.State != models.SessionWaking
				})
			}
			return session, err
		})
	}
	return command
}
