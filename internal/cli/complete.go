package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
)

// completeWithin bounds a completion: a person is waiting with a finger on a
// key.
const completeWithin = 2 * time.Second

func (c *caller) completeTemplates(command *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.complete(command, args, true, func(ctx context.Context, api *client.Client) ([]cobra.Completion, error) {
		list, err := api.Templates(ctx, client.Page{})
		var names []cobra.Completion
		for _, template := range list.Items {
			names = append(names, cobra.CompletionWithDesc(template.Name, template.DisplayName))
		}
		return names, err
	})
}

func (c *caller) completeAgents(command *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.complete(command, args, true, func(ctx context.Context, api *client.Client) ([]cobra.Completion, error) {
		list, err := api.Agents(ctx, client.Page{})
		var names []cobra.Completion
		for _, agent := range list.Items {
			names = append(names, cobra.CompletionWithDesc(agent.ID, standing(time.Now(), agent)))
		}
		return names, err
	})
}

func (c *caller) completeSessions(command *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.complete(command, args, command.Name() != "stop", func(ctx context.Context, api *client.Client) ([]cobra.Completion, error) {
		filter := client.SessionFilter{}
		for _, state := range models.SessionStates() {
			if !state.Terminal() {
				filter.States = append(filter.States, state)
			}
		}
		list, err := api.Sessions(ctx, filter)
		var names []cobra.Completion
		for _, session := range list.Items {
			names = append(names, cobra.CompletionWithDesc(session.ID, session.Name+", "+string(session.State)))
		}
		return names, err
	})
}

// complete asks the server; without an answer nothing is offered.
func (c *caller) complete(command *cobra.Command, args []string, single bool,
	ask func(context.Context, *client.Client) ([]cobra.Completion, error),
) ([]cobra.Completion, cobra.ShellCompDirective) {
	if single && len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	api, err := c.connect(command)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(command.Context(), completeWithin)
	defer cancel()
	names, err := ask(ctx, api)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
