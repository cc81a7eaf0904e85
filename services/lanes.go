package services

import (
	"sync"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// hint says that a lane may have something to send.
type hint struct {
	lane db.Lane
	// again is a command to send although it was sent before; empty for none.
	again string
}

// laneOf gives the lane that the command is sent in. Commands that concern no
// session share their agent's lane for those.
func laneOf(command models.AgentCommand) db.Lane {
	return db.Lane{AgentID: command.AgentID, SessionID: command.SessionID}
}

// lanes says which lanes a worker is at, so that no two workers send one
// session's commands at once and thereby out of order.
type lanes struct {
	mu sync.Mutex
	// busy has a key for each claimed lane, with what came for it meanwhile.
	busy map[db.Lane][]hint
}

func newLanes() lanes { return lanes{busy: map[db.Lane][]hint{}} }

// claim gives the lane to the caller, who must release it. When another worker
// has it, the hint is left to that worker and claim reports false.
func (l *lanes) claim(queued hint) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting, claimed := l.busy[queued.lane]
	if !claimed {
		l.busy[queued.lane] = nil
		return true
	}
	for _, other := range waiting { // one of a kind says all, and bounds the list
		if other == queued {
			return false
		}
	}
	l.busy[queued.lane] = append(waiting, queued)
	return false
}

// release gives the lane back, or the next hint that came for it: then the
// caller still has the lane.
func (l *lanes) release(lane db.Lane) (next hint, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := l.busy[lane]
	if len(waiting) == 0 {
		delete(l.busy, lane)
		return hint{}, false
	}
	l.busy[lane] = waiting[1:]
	return waiting[0], true
}

// flights are the commands that are on their way to the socket but not yet
// marked as sent. An agent may answer before the mark is written; its answer
// waits for it, so that a row passes through its states in order.
type flights struct {
	mu      sync.Mutex
	landing map[string]chan struct{}
}

func newFlights() flights { return flights{landing: map[string]chan struct{}{}} }

// begin opens a flight; the caller calls end when the mark is written or will
// not be. One lane is at one worker, so no command has two flights.
func (f *flights) begin(commandID string) (end func()) {
	landed := make(chan struct{})
	f.mu.Lock()
	f.landing[commandID] = landed
	f.mu.Unlock()
	return func() {
		f.mu.Lock()
		delete(f.landing, commandID)
		f.mu.Unlock()
		close(landed)
	}
}

// wait returns when the command is on no flight. The mark it waits for has a
// deadline in the database, so the wait is bounded too.
func (f *flights) wait(commandID string) {
	f.mu.Lock()
	landed := f.landing[commandID]
	f.mu.Unlock()
	if landed != nil {
		<-landed
	}
}
