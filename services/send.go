package services

import (
	"context"
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

// serve sends what the hint's lane has to send, unless another worker is at
// that lane: then it is left to that one.
func (d *CommandDispatcher) serve(queued hint) {
	if !d.lanes.claim(queued) {
		return
	}
	for more := true; more; queued, more = d.lanes.release(queued.lane) {
		d.sendLane(queued)
	}
}

// sendLane sends a lane's commands in order and stops at the first that cannot
// be sent, so that no later one overtakes it.
func (d *CommandDispatcher) sendLane(queued hint) {
	ctx := context.Background() // a worker finishes its command; db bounds each call
	log := d.options.Logger.With("agent", queued.lane.AgentID, "session", queued.lane.SessionID)
	epoch, connected := d.hub.Epoch(queued.lane.AgentID)
	if !connected {
		return
	}
	commands, err := d.database.UnsentCommands(ctx, queued.lane, epoch)
	if err != nil {
		log.Error("read what to send", "error", err)
		return
	}
	if queued.again != "" && !slices.ContainsFunc(commands, func(c models.AgentCommand) bool { return c.CommandID == queued.again }) {
		command, err := d.database.Command(ctx, queued.again)
		if err != nil {
			log.Error("read what to send again", "command", queued.again, "error", err)
			return
		}
		if command.Status != models.CommandCompleted && command.Status != models.CommandFailed {
			commands = append([]models.AgentCommand{command}, commands...) // it is older than what was never sent
		}
	}
	for _, command := range commands {
		if d.isStopped() {
			return // what is left stays as it is in the database
		}
		if !d.send(ctx, command, epoch) {
			return
		}
	}
}

// send sends one command and marks it. The mark comes second: a command that
// is marked and was never sent would wait for the agent's next connection.
func (d *CommandDispatcher) send(ctx context.Context, command models.AgentCommand, epoch int64) bool {
	log := d.options.Logger.With("agent", command.AgentID, "session", command.SessionID, "command", command.CommandID)
	now := d.options.Now()
	if expired(command, now) {
		return false // the poller ends it; what comes after must not overtake
	}
	defer d.flights.begin(command.CommandID)()
	if err := d.hub.SendCommandToAgent(command.AgentID, &command); err != nil {
		if models.CodeOf(err) == models.CodeFrameTooLarge {
			d.refuse(ctx, command, err)
			return true
		}
		if models.CodeOf(err) == models.CodeQueueFull {
			d.stalls.note(command.AgentID, time.Now())
		}
		log.Info("not sent, it stays pending", "cause", err)
		return false
	}
	current, err := d.database.MarkSent(ctx, command.CommandID, command.AgentID, epoch, now)
	if err != nil {
		log.Error("mark sent", "error", err)
		return false
	}
	if command.Attempts > 0 {
		d.counters.resent.Add(1)
	} else {
		d.counters.sent.Add(1)
	}
	log.Debug("sent", "action", command.Action, "epoch", epoch, "attempt", command.Attempts+1)
	if !current {
		// Ended meanwhile, or the connection was replaced. The next connection
		// is told of by the hub, so there is nothing to do on this one.
		return d.stillCurrent(command.AgentID, epoch)
	}
	return true
}

// stillCurrent reports whether the connection is the one to go on with.
func (d *CommandDispatcher) stillCurrent(agentID string, epoch int64) bool {
	now, connected := d.hub.Epoch(agentID)
	return connected && now == epoch
}

// refuse fails a command that no connection will ever carry.
func (d *CommandDispatcher) refuse(ctx context.Context, command models.AgentCommand, cause error) {
	d.fail(ctx, command, models.CodeFrameTooLarge,
		"the command is too large for the agent protocol; make the template smaller", false)
	d.options.Logger.Error("a command can never be sent", "command", command.CommandID, "cause", cause)
}

func expired(command models.AgentCommand, now time.Time) bool {
	return !command.DeadlineAt.IsZero() && command.DeadlineAt.Before(now)
}
