package services

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

const (
	// pollBatch bounds what one poll reads of either kind.
	pollBatch = 500
	// wholeEvery is how many polls pass between two that look at everything that
	// is unfinished, and not only where a transaction may have committed late.
	wholeEvery = 30
	// noticeEvery is the least time between two notices to other replicas, since
	// PostgreSQL takes a lock of the whole cluster for each.
	noticeEvery = 25 * time.Millisecond
	// listenAgain is the wait before the next attempt to listen.
	listenAgain = 2 * time.Second
)

// poll finds what hints missed: commands for connected agents that were not
// sent on their connection, those that were not acknowledged, and those past
// their deadline.
func (d *CommandDispatcher) poll() {
	timer := time.NewTimer(jittered(d.options.PollEvery))
	defer timer.Stop()
	for polls := 1; ; {
		whole := false
		select {
		case <-d.stopChan:
			return
		case <-d.wake:
		case <-timer.C:
			timer.Reset(jittered(d.options.PollEvery))
			polls++
			whole = polls%wholeEvery == 0
			if d.expire(context.Background()) {
				whole = true // what waited behind them lies where nobody looks otherwise
			}
			for _, unanswered := range d.flows.overdue(time.Now()) {
				d.offer(unanswered)
			}
		}
		d.refill(context.Background(), whole)
	}
}

// refill queues agents with something to be sent, as many as there is room for.
func (d *CommandDispatcher) refill(ctx context.Context, whole bool) {
	for _, agentID := range d.hub.GetConnectedAgents() {
		if epoch, connected := d.hub.Epoch(agentID); connected {
			d.flows.open(agentID, epoch)
		}
	}
	room := min(cap(d.queue)-len(d.queue), pollBatch)
	before := d.counters.sends()
	if room <= 0 {
		d.rest.Store(&before)
		return
	}
	standings := d.flows.standings(time.Now(), whole)
	if len(standings) == 0 {
		return
	}
	wanted := make([]db.Unsent, 0, len(standings))
	for _, one := range standings {
		wanted = append(wanted, db.Unsent{AgentID: one.agentID, Epoch: one.epoch, After: one.after})
	}
	found, err := d.database.AgentsWithUnsent(ctx, wanted, room)
	if err != nil {
		d.options.Logger.Error("look for unsent commands", "error", err)
		return
	}
	from := reachUnsettled
	if whole {
		from = reachAll
	}
	for _, agentID := range found {
		if !d.offer(hint{agentID: agentID, reach: from}) {
			break
		}
	}
	if len(found) == room {
		d.rest.Store(&before)
	}
}

// drained looks for more at once when the last poll left something out, but
// only if something was sent since: else it would turn in circles.
func (d *CommandDispatcher) drained() {
	if before := d.rest.Load(); before != nil && d.counters.sends() > *before && d.rest.CompareAndSwap(before, nil) {
		d.awake()
	}
}

// expire fails commands that are past their deadline, and tells whether there
// were any.
func (d *CommandDispatcher) expire(ctx context.Context) bool {
	overdue, err := d.database.OverdueCommands(ctx, d.options.Now(), pollBatch)
	if err != nil {
		d.options.Logger.Error("look for overdue commands", "error", err)
		return false
	}
	for _, command := range overdue {
		d.end(ctx, command.CommandID, command.AgentID, db.End{
			Status: models.CommandFailed, Error: overdueReason(command), Code: models.CodeCommandTimeout, Retryable: true, At: d.options.Now(),
		})
	}
	return len(overdue) > 0
}

func overdueReason(command models.AgentCommand) string {
	within := command.DeadlineAt.Sub(command.CreatedAt).Round(time.Second)
	switch command.Status {
	case models.CommandPending:
		return fmt.Sprintf("agent %q was not connected within %s; see that it runs", command.AgentID, within)
	case models.CommandSent:
		return fmt.Sprintf("agent %q did not answer within %s; see that it works", command.AgentID, within)
	}
	return fmt.Sprintf("agent %q did not finish within %s", command.AgentID, within)
}

// tell gathers agents that are connected to another replica, and tells the
// replicas that those have new commands: at once if it has been quiet, and then
// at most once in noticeEvery.
func (d *CommandDispatcher) tell() {
	for {
		var agents []string
		select {
		case <-d.stopChan:
			return
		case agentID := <-d.notices:
			agents = append(agents, agentID)
		}
		for more := true; more; {
			select {
			case agentID := <-d.notices:
				agents = append(agents, agentID)
			default:
				more = false
			}
		}
		if err := d.database.Notify(context.Background(), agents); err != nil {
			d.options.Logger.Warn("tell the replicas of new commands; their polls find them", "error", err)
		}
		if !d.pause(noticeEvery) {
			return
		}
	}
}

// listen hears of commands that other replicas have written, until Stop.
func (d *CommandDispatcher) listen() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var ending sync.WaitGroup
	ending.Go(func() {
		<-d.stopChan
		cancel()
	})
	defer ending.Wait()
	for {
		err := d.database.Listen(ctx, d.awake, d.heard)
		if d.isStopped() {
			return
		}
		d.options.Logger.Warn("listen for new commands; polls find them meanwhile", "error", err)
		if !d.pause(listenAgain) {
			return
		}
	}
}

// heard queues the agents that a notice names, if they are connected here.
func (d *CommandDispatcher) heard(agentIDs []string) {
	if len(agentIDs) == 0 {
		d.awake()
	}
	for _, agentID := range agentIDs {
		if d.hub.IsAgentConnected(agentID) && !d.offer(hint{agentID: agentID}) {
			d.awake()
		}
	}
}

// pause waits, and gives false when the dispatcher stops.
func (d *CommandDispatcher) pause(duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.stopChan:
		return false
	}
}
