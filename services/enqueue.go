package services

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/streamspace/streamspace/models"
)

// DefaultCommandDeadline is how long a command may take from its creation to
// its end. It is longer than reconciliation waits for a vanished agent, so
// that the nearer cause is the one that is told.
const DefaultCommandDeadline = 15 * time.Minute

// maxID bounds the ids of others, in bytes.
const maxID = 128

// checkCommand refuses a command that could never be sent.
func checkCommand(command *models.AgentCommand) error {
	switch {
	case command == nil:
		return models.Errorf(models.CodeInvalidRequest, "there is no command to dispatch")
	case !plainID(command.CommandID):
		return models.Errorf(models.CodeInvalidRequest, "a command needs a command id of at most %d printable characters", maxID)
	case !plainID(command.AgentID):
		return models.Errorf(models.CodeInvalidRequest, "command %q names no agent", command.CommandID)
	case !plainID(command.Action):
		return models.Errorf(models.CodeInvalidRequest, "command %q has no action", command.CommandID)
	}
	switch command.Status {
	case "", models.CommandPending, models.CommandSent, models.CommandAck:
		return nil
	}
	return models.Errorf(models.CodeInvalidRequest, "command %q has status %q and cannot be dispatched", command.CommandID, command.Status)
}

// ensureRow gives the command's row, written now if there is none: a command
// is never sent without one.
func (d *CommandDispatcher) ensureRow(ctx context.Context, command *models.AgentCommand) (models.AgentCommand, error) {
	row, err := d.database.Command(ctx, command.CommandID)
	if models.CodeOf(err) == models.CodeCommandUnknown {
		if err := d.database.CreateCommand(ctx, d.complete(*command), d.options.Now()); err != nil &&
			models.CodeOf(err) != models.CodeInvalidRequest { // another call wrote it meanwhile
			return row, fmt.Errorf("dispatch command: %w", err)
		}
		row, err = d.database.Command(ctx, command.CommandID)
	}
	if err != nil {
		return row, fmt.Errorf("dispatch command: %w", err)
	}
	if row.AgentID != command.AgentID || row.Action != command.Action {
		return row, models.Errorf(models.CodeInvalidRequest, "the id %q belongs to another command, to %s on agent %q",
			command.CommandID, row.Action, row.AgentID)
	}
	return row, nil
}

// complete fills in what a command without a row may leave out.
func (d *CommandDispatcher) complete(command models.AgentCommand) *models.AgentCommand {
	if command.SessionID == "" && command.Payload != nil {
		if sessionID, named := (*command.Payload)["sessionId"].(string); named {
			command.SessionID = sessionID
		}
	}
	if command.DeadlineAt.IsZero() {
		command.DeadlineAt = d.options.Now().Add(DefaultCommandDeadline)
	}
	return &command
}

func errStopped() *models.Error {
	return &models.Error{Code: models.CodeStopped, Retryable: true,
		Message: "the dispatcher has stopped; the command is sent when the control plane runs again"}
}

// plainID tells whether an id from outside may be looked up and shown.
func plainID(id string) bool {
	return id != "" && len(id) <= maxID && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}
