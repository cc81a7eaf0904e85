package api

import (
	"context"
	"net/http"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// commandRoutes are commands, for admins.
type commandRoutes struct {
	database *db.Database
}

// CommandParam names a command.
type CommandParam struct {
	ID string `path:"id" maxLength:"128" pattern:"^[A-Za-z0-9][A-Za-z0-9._:-]*$" patternDescription:"a command id"`
}

// CommandQuery restricts a list of commands.
type CommandQuery struct {
	PageParams
	AgentID   string `query:"agentId" maxLength:"128" pattern:"^[A-Za-z0-9._-]*$" patternDescription:"an agent id"`
	SessionID string `query:"sessionId" maxLength:"63" pattern:"^[a-z0-9-]*$" patternDescription:"a session id"`
	Status    string `query:"status" enum:"pending,sent,ack,completed,failed"`
}

func (c *commandRoutes) register(r *router) {
	register(r, operation(accessAdmin, http.MethodGet, base+"/commands", "list-commands", tagCommands,
		"List commands"), c.list)
	register(r, operation(accessAdmin, http.MethodGet, base+"/commands/{id}", "show-command", tagCommands,
		"Show a command", http.StatusNotFound), c.show)
}

func (c *commandRoutes) list(ctx context.Context, input *CommandQuery) (*listOutput[models.AgentCommand], error) {
	commands, next, err := c.database.Commands(ctx, db.CommandFilter{
		AgentID: input.AgentID, SessionID: input.SessionID, Status: input.Status,
	}, input.page())
	for _, command := range commands {
		hidePagePrefix(command)
	}
	return listed(commands, next, err)
}

// hidePagePrefix leaves out the prefix of a session's pages, which lets whoever
// knows it see them: an admin sees commands, and not other people's sessions.
func hidePagePrefix(command models.AgentCommand) {
	if command.Payload == nil {
		return
	}
	manifest, _ := (*command.Payload)["templateManifest"].(map[string]any)
	spec, _ := manifest["spec"].(map[string]any)
	pages, _ := spec["http"].(map[string]any)
	name, _ := pages["prefixEnv"].(string)
	variables, _ := spec["env"].([]any)
	for _, one := range variables {
		if variable, _ := one.(map[string]any); name != "" && variable["name"] == name {
			variable["value"] = "REDACTED"
		}
	}
}

func (c *commandRoutes) show(ctx context.Context, input *CommandParam) (*output[models.AgentCommand], error) {
	command, err := c.database.Command(ctx, input.ID)
	if err != nil {
		return nil, err
	}
	hidePagePrefix(command)
	return &output[models.AgentCommand]{Body: command}, nil
}
