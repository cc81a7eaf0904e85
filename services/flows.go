package services

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// flowIDs bounds the commands that one agent's flow is asked to look at by
	// their ids; beyond it, the flow looks at everything.
	flowIDs = 256
	// settleAfter is the age at which a command's place in the order of creation
	// tells that all before it are committed or never will be: longer than a
	// transaction may take (db gives each call 10 s).
	settleAfter = 15 * time.Second
)

// hint says that an agent may have something to be sent.
type hint struct {
	agentID string
	// commandID is the command that is meant, if one is.
	commandID string
	// again asks to send it although it was sent before.
	again bool
	// reach is how far back to look besides.
	reach reach
}

// reach is from which place on a flow looks for unsent commands.
type reach int

const (
	// reachNew looks after the last command that was found.
	reachNew reach = iota
	// reachUnsettled looks also where a transaction may have committed late.
	reachUnsettled
	// reachAll looks at everything that is unfinished.
	reachAll
)

// flow is the way of commands to one agent's current connection. Whoever has
// claimed it reads what is unsent and sends it in the order of creation, which
// is each session's order too.
type flow struct {
	agentID string
	epoch   int64
	// answers is held while a command is sent and noted as sent, and while its
	// answer is noted: an agent may answer before this process has gone on.
	answers sync.Mutex

	// Only the claimant uses these.
	cursor int64

	// The flows' lock guards what follows.
	busy    bool
	wanted  bool
	reach   reach
	ids     map[string]bool // again?
	flights map[string]*flight
	// settled is a place that everything before is committed for; candidate
	// becomes settled when it is old enough.
	settled, candidate int64
	candidateAt        time.Time
	// seen mirrors cursor.
	seen int64
	// full is set when the window or the socket had no room.
	full         bool
	stalledUntil time.Time
}

// flight is a command that was sent and not acknowledged.
type flight struct {
	tries int
	// again is when to send it again.
	again time.Time
}

// flows are the flows of the agents that are connected here.
type flows struct {
	mu       sync.Mutex
	byAgent  map[string]*flow
	window   int
	ackEvery time.Duration
}

func newFlows(window int, ackEvery time.Duration) *flows {
	return &flows{byAgent: map[string]*flow{}, window: window, ackEvery: ackEvery}
}

// open gives the agent's flow on the connection with this epoch, and forgets
// that of an older one. A flow that is claimed stays with its claimant, who
// finds out.
func (f *flows) open(agentID string, epoch int64) *flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opened(agentID, epoch)
}

func (f *flows) opened(agentID string, epoch int64) *flow {
	known := f.byAgent[agentID]
	if known == nil || known.epoch < epoch {
		known = &flow{agentID: agentID, epoch: epoch, reach: reachAll}
		f.byAgent[agentID] = known
	}
	return known
}

// close forgets the agent's flow unless a newer connection has one.
func (f *flows) close(agentID string, epoch int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known := f.byAgent[agentID]; known != nil && known.epoch <= epoch {
		delete(f.byAgent, agentID)
	}
}

// current gives the agent's flow on the connection with this epoch, or nil.
func (f *flows) current(agentID string, epoch int64) *flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known := f.byAgent[agentID]; known != nil && known.epoch == epoch {
		return known
	}
	return nil
}

// claim adds hints to the flows that they are for and gives those flows that
// have become the caller's, who must release them. epoch tells an agent's
// connection; hints for agents without one are dropped.
func (f *flows) claim(hints []hint, epoch func(agentID string) (int64, bool)) []*flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	var claimed []*flow
	for _, one := range hints {
		now, connected := epoch(one.agentID)
		if !connected {
			continue
		}
		flow := f.opened(one.agentID, now)
		flow.want(one)
		if !flow.busy {
			flow.busy = true
			claimed = append(claimed, flow)
		}
	}
	return claimed
}

func (f *flow) want(one hint) {
	f.wanted = true
	f.reach = max(f.reach, one.reach)
	if one.commandID == "" {
		return
	}
	if _, known := f.ids[one.commandID]; !known && len(f.ids) >= flowIDs && !one.again {
		f.reach = reachAll
		return
	}
	f.ask(one.commandID, one.again)
}

// ask notes a command to look at. Idle flows have no map: there are many.
func (f *flow) ask(commandID string, again bool) {
	if f.ids == nil {
		f.ids = map[string]bool{}
	}
	f.ids[commandID] = f.ids[commandID] || again
}

// errand is what a claimant is to do for a flow.
type errand struct {
	*flow
	// after is the place to look from, limit how many may be sent.
	after int64
	limit int
	// ids are commands to look at wherever they are; true sends them again.
	ids map[string]bool
}

// take gives the errand of a claimed flow; none when it has no room.
func (f *flows) take(claimed *flow, batch int, now time.Time) (errand, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	room := f.window - len(claimed.flights)
	if room <= 0 || now.Before(claimed.stalledUntil) {
		claimed.full = true
		return errand{}, false
	}
	taken := errand{flow: claimed, after: claimed.cursor, limit: min(room, batch), ids: claimed.ids}
	switch claimed.reach {
	case reachUnsettled:
		taken.after = min(claimed.settled, claimed.cursor)
	case reachAll:
		taken.after = 0
	}
	claimed.wanted, claimed.reach, claimed.ids, claimed.full = false, reachNew, nil, false
	return taken, true
}

// release gives the flow back, or tells that more came for it meanwhile: then
// the caller still has it.
func (f *flows) release(claimed *flow, now time.Time) (more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	claimed.seen = claimed.cursor
	if claimed.wanted && !claimed.full && !now.Before(claimed.stalledUntil) && f.byAgent[claimed.agentID] == claimed {
		return true
	}
	claimed.busy = false
	return false
}

// again puts an errand back that could not be done.
func (f *flows) again(undone errand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	undone.wanted = true
	undone.flow.reach = reachAll
	for id, again := range undone.ids {
		undone.ask(id, again)
	}
}

// more asks a claimed flow to look on.
func (f *flows) more(claimed *flow, from reach) {
	f.mu.Lock()
	defer f.mu.Unlock()
	claimed.wanted = true
	claimed.reach = max(claimed.reach, from)
}

// stall keeps the flow from being served for a while, since its socket takes
// nothing, so that others are.
func (f *flows) stall(claimed *flow, until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	claimed.stalledUntil, claimed.full = until, true
}

// flies tells whether the command was sent on this connection and is not
// acknowledged.
func (f *flows) flies(of *flow, commandID string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return of.flights[commandID] != nil
}

// sent notes that the command was sent just now.
func (f *flows) sent(of *flow, commandID string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := of.flights[commandID]
	if known == nil {
		known = &flight{}
		if of.flights == nil {
			of.flights = map[string]*flight{}
		}
		of.flights[commandID] = known
	}
	wait := min(f.ackEvery<<min(known.tries, 5), maxAckWait)
	known.tries++
	known.again = now.Add(wait - wait/5 + rand.N(2*wait/5+1))
}

// landed notes that the agent has the command, or that it has ended, and tells
// whether the flow has been waiting for that.
func (f *flows) landed(of *flow, commandID string) (room bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(of.flights, commandID)
	if len(of.flights) == 0 {
		of.flights = nil
	}
	if of.full && len(of.flights) <= f.window/2 {
		of.full = false
		return true
	}
	return false
}

// overdue gives the commands that were not acknowledged in time, as hints to
// send them again.
func (f *flows) overdue(now time.Time) []hint {
	f.mu.Lock()
	defer f.mu.Unlock()
	var hints []hint
	for agentID, flow := range f.byAgent {
		for commandID, flight := range flow.flights {
			if !now.Before(flight.again) {
				hints = append(hints, hint{agentID: agentID, commandID: commandID, again: true})
			}
		}
	}
	return hints
}

// standing is where a flow stands, for the poll.
type standing struct {
	agentID string
	epoch   int64
	after   int64
}

// standings gives where the flows that can be served stand, and lets places
// settle. With all, they stand at the beginning.
func (f *flows) standings(now time.Time, all bool) []standing {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]standing, 0, len(f.byAgent))
	for _, agentID := range slices.Sorted(maps.Keys(f.byAgent)) {
		flow := f.byAgent[agentID]
		if now.Sub(flow.candidateAt) >= settleAfter {
			flow.settled, flow.candidate, flow.candidateAt = flow.candidate, flow.seen, now
		}
		if now.Before(flow.stalledUntil) || len(flow.flights) >= f.window {
			continue
		}
		one := standing{agentID: agentID, epoch: flow.epoch, after: flow.settled}
		if all {
			one.after = 0
		}
		list = append(list, one)
	}
	return list
}

// inFlight counts the commands that were sent and not acknowledged.
func (f *flows) inFlight() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	count := 0
	for _, flow := range f.byAgent {
		count += len(flow.flights)
	}
	return count
}
