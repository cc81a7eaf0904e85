package services

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

const (
	// hintBatch bounds the hints that one worker takes at once, so that the
	// commands of many agents are one query.
	hintBatch = 256
	// sendBatch bounds the commands of one agent that one query reads.
	sendBatch = 256
	// passedBatch bounds a look at what was passed before.
	passedBatch = 1000
	// stallFor is how long an agent whose socket takes nothing is passed over.
	stallFor = 1500 * time.Millisecond
	// maxAckWait bounds the wait for an acknowledgement before a command is sent
	// again.
	maxAckWait = 2 * time.Minute
)

// serve sends what the flows that the hints are for have to send. Flows that
// another worker is at are left to that one.
func (d *CommandDispatcher) serve(first hint) {
	hints := []hint{first}
	for len(hints) < hintBatch {
		select {
		case next := <-d.queue:
			hints = append(hints, next)
			continue
		default:
		}
		break
	}
	claimed := d.flows.claim(hints, d.hub.Epoch)
	for len(claimed) > 0 {
		d.sendFlows(claimed)
		claimed = slices.DeleteFunc(claimed, func(one *flow) bool { return !d.flows.release(one, time.Now()) || d.isStopped() })
	}
}

// sendFlows reads what the claimed flows have to send, with one query for what
// is new in all of them, and sends it.
func (d *CommandDispatcher) sendFlows(claimed []*flow) {
	var errands []errand
	var wanted, passed []db.Unsent
	for _, one := range claimed {
		taken, some := d.flows.take(one, sendBatch, time.Now())
		if !some {
			continue
		}
		errands = append(errands, taken)
		wanted = append(wanted, db.Unsent{AgentID: one.agentID, Epoch: one.epoch, After: one.cursor, Limit: taken.limit})
		if taken.after < one.cursor {
			passed = append(passed, db.Unsent{AgentID: one.agentID, Epoch: one.epoch, After: taken.after, UpTo: one.cursor, Limit: passedBatch})
		}
	}
	if len(errands) == 0 {
		return
	}
	ctx := context.Background() // a worker finishes what it has begun; db bounds each call
	found, err := d.read(ctx, errands, wanted, passed)
	if err != nil {
		d.options.Logger.Error("read what to send", "agents", len(errands), "error", err)
		for _, one := range errands {
			d.flows.again(one) // the next poll comes upon it
			d.flows.stall(one.flow, time.Now().Add(d.options.PollEvery))
		}
		return
	}
	for _, one := range errands {
		d.sendFlow(ctx, one, found[one.agentID])
	}
}

// read gives what is to be sent for each agent. What is new in a flow comes as
// it was read. What the flow passed before, and what is asked for by its id, is
// read once more after everything that is about to be written was left out: so
// a row that says "unsent" is not one whose sending is just being written.
func (d *CommandDispatcher) read(ctx context.Context, errands []errand, wanted, passed []db.Unsent) (map[string][]db.Outgoing, error) {
	fresh, err := d.database.UnsentCommands(ctx, wanted)
	if err != nil {
		return nil, err
	}
	found := make(map[string][]db.Outgoing, len(errands))
	for len(fresh) > 0 { // an agent's are side by side
		agentID := fresh[0].AgentID
		count := slices.IndexFunc(fresh, func(c db.Outgoing) bool { return c.AgentID != agentID })
		if count < 0 {
			count = len(fresh)
		}
		found[agentID], fresh = fresh[:count:count], fresh[count:]
	}
	candidates, err := d.candidates(ctx, errands, found, passed)
	if err != nil || len(candidates) == 0 {
		return found, err
	}
	late, err := d.database.UnfinishedCommands(ctx, candidates)
	if err != nil {
		return nil, err
	}
	for _, one := range errands {
		fresh := found[one.agentID]
		upTo := max(one.cursor, lastSeq(fresh))
		for _, command := range late {
			mine := command.AgentID == one.agentID && command.Seq <= upTo // beyond it, its turn comes
			unsent := one.ids[command.CommandID] || command.SentEpoch < one.epoch
			if mine && unsent && !slices.ContainsFunc(fresh, func(c db.Outgoing) bool { return c.Seq == command.Seq }) {
				found[one.agentID] = append(found[one.agentID], command)
			}
		}
	}
	for _, one := range errands {
		slices.SortFunc(found[one.agentID], func(a, b db.Outgoing) int { return cmp.Compare(a.Seq, b.Seq) })
	}
	return found, nil
}

// candidates are the commands to look at by their ids.
func (d *CommandDispatcher) candidates(ctx context.Context, errands []errand, found map[string][]db.Outgoing, passed []db.Unsent) ([]string, error) {
	var ids []string
	add := func(of errand, commandID string, again bool) {
		news := d.recorders.of(of.agentID)
		ending := news.holds(commandID, 0) // by the control plane's own word, on no connection
		if !ending && (again || !d.flows.flies(of.flow, commandID) && !news.holds(commandID, of.epoch)) {
			ids = append(ids, commandID)
		}
	}
	byAgent := make(map[string]errand, len(errands))
	for _, one := range errands {
		byAgent[one.agentID] = one
		if len(one.ids) == 0 {
			continue
		}
		fresh := map[string]bool{}
		for _, command := range found[one.agentID] {
			fresh[command.CommandID] = true
		}
		for commandID, again := range one.ids {
			if !fresh[commandID] {
				add(one, commandID, again)
			}
		}
	}
	if len(passed) == 0 {
		return ids, nil
	}
	before, err := d.database.UnsentCommands(ctx, passed)
	for _, command := range before {
		add(byAgent[command.AgentID], command.CommandID, false)
	}
	slices.Sort(ids)
	return slices.Compact(ids), err
}

func lastSeq(commands []db.Outgoing) int64 {
	if len(commands) == 0 {
		return 0
	}
	return commands[len(commands)-1].Seq
}

// sendFlow sends commands in order and stops at the first that the agent's
// socket does not take. A session's commands behind one that cannot be sent
// wait for it.
func (d *CommandDispatcher) sendFlow(ctx context.Context, of errand, commands []db.Outgoing) {
	blocked := map[string]bool{}
	fresh := 0
	for _, command := range commands {
		isNew := command.Seq > of.cursor
		if isNew {
			fresh++
		}
		switch {
		case d.isStopped():
			return // what is left stays as it is in the database
		case command.SessionID != "" && blocked[command.SessionID]:
		case command.Overtaken:
			d.supersede(ctx, command)
		case expired(command, d.options.Now()):
			blocked[command.SessionID] = true // the poll ends it, and has the rest looked at again
		case !d.send(ctx, of, command):
			d.flows.again(of)
			return
		}
		if isNew {
			of.cursor = command.Seq
		}
	}
	if fresh >= of.limit {
		d.flows.more(of.flow, reachNew)
	}
}

// supersede ends a command whose effect nobody wants any more, or that is there,
// also one that was sent: an agent that has lost its journal would do it after
// its end, or once more, and if that fails clear away what runs.
func (d *CommandDispatcher) supersede(ctx context.Context, command db.Outgoing) {
	d.end(ctx, command.CommandID, command.AgentID, db.End{
		Status: models.CommandCompleted, Result: &models.CommandPayload{"superseded": true}, At: d.options.Now(),
	})
}

// send sends one command and notes it.
func (d *CommandDispatcher) send(ctx context.Context, of errand, command db.Outgoing) bool {
	frame, err := wire.EncodeCommand(command.CommandID, command.Action, command.Payload)
	if err != nil {
		d.options.Logger.Error("a command can never be sent", "agent", command.AgentID, "session", command.SessionID,
			"command", command.CommandID, "error", err)
		d.end(ctx, command.CommandID, command.AgentID, db.End{Status: models.CommandFailed, Code: models.CodeFrameTooLarge,
			Error: "the command is too large for the agent protocol; make the template smaller", At: d.options.Now()})
		return true
	}
	of.answers.Lock()
	defer of.answers.Unlock()
	//failpoint:command-unsent
	if err := d.hub.SendFrame(command.AgentID, of.epoch, frame); err != nil {
		// A socket that is full may have room later. A connection that is gone has
		// a flow until its end is written, which must not be tried over and over.
		d.flows.stall(of.flow, time.Now().Add(stallFor))
		d.options.Logger.Info("not sent, it stays pending", "agent", command.AgentID, "session", command.SessionID,
			"command", command.CommandID, "cause", err)
		return false
	}
	d.flows.sent(of.flow, command.CommandID, time.Now())
	if command.Attempts > 0 || of.ids[command.CommandID] {
		d.counters.resent.Add(1)
	} else {
		d.counters.sent.Add(1)
	}
	if d.options.Logger.Enabled(ctx, slog.LevelDebug) { // gathering what it says takes longer than sending
		d.options.Logger.Debug("command sent", "agent", command.AgentID, "session", command.SessionID, "command", command.CommandID,
			"action", command.Action, "epoch", of.epoch, "attempt", command.Attempts+1)
	}
	known := command
	known.Payload = nil // it is not needed any more
	err = d.recorders.of(command.AgentID).note(ctx, db.Transition{CommandID: command.CommandID, AgentID: command.AgentID, Epoch: of.epoch,
		Known: &known, Sends: 1, SentAt: d.options.Now()})
	return err == nil
}

// end ends a command on the control plane's own word.
func (d *CommandDispatcher) end(ctx context.Context, commandID, agentID string, end db.End) {
	if err := d.recorders.of(agentID).note(ctx, db.Transition{CommandID: commandID, AgentID: agentID, End: &end}); err != nil {
		d.options.Logger.Info("a command's end is left to the next start", "command", commandID, "cause", err)
	}
}

func expired(command db.Outgoing, now time.Time) bool {
	return !command.DeadlineAt.IsZero() && command.DeadlineAt.Before(now)
}
