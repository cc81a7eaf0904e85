package db_test

import (
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// write writes transitions in one transaction.
func (w *world) write(transitions ...db.Transition) []db.Written {
	w.t.Helper()
	written, err := w.WriteTransitions(w.t.Context(), transitions, noon)
	must(w.t, err)
	return written
}

// markSent writes that the command was sent; a command that has ended absorbs it.
func (w *world) markSent(commandID, agentID string, epoch int64, now time.Time) {
	w.t.Helper()
	must(w.t, w.write(db.Transition{CommandID: commandID, AgentID: agentID, Epoch: epoch, Sends: 1, SentAt: now})[0].Err)
}

// finish writes the command's end.
func (w *world) finish(commandID, agentID string, epoch int64, end db.End) {
	w.t.Helper()
	must(w.t, w.write(db.Transition{CommandID: commandID, AgentID: agentID, Epoch: epoch, End: &end})[0].Err)
}

// ending is one command's end, and finished what it has left.
type ending struct {
	CommandID, AgentID string
	Epoch              int64
	Status             string
	Result             *models.CommandPayload
	Error              string
	Code               models.ErrorCode
	Retryable          bool
}

type finished struct {
	Command models.AgentCommand
	Session *models.Session
	Moved   bool
}

// FinishCommand writes one end, at the given time.
func (w *world) FinishCommand(end ending, now time.Time) (finished, error) {
	written, err := w.WriteTransitions(w.t.Context(), []db.Transition{{CommandID: end.CommandID, AgentID: end.AgentID, Epoch: end.Epoch,
		End: &db.End{Status: end.Status, Result: end.Result, Error: end.Error, Code: end.Code, Retryable: end.Retryable, At: now}}}, now)
	if err != nil {
		return finished{}, err
	}
	if written[0].Err != nil {
		return finished{}, written[0].Err
	}
	command, err := w.Command(w.t.Context(), end.CommandID)
	return finished{Command: command, Session: written[0].Session, Moved: written[0].Moved}, err
}
