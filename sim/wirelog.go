package sim

import (
	"sync"
	"time"

	"github.com/streamspace/streamspace/wire"
)

// passage is one frame on its way.
type passage struct {
	at   time.Time
	link *link
	up   bool
	// arrived tells the frame's arrival from its sending.
	arrived bool
	kind    wire.Type
	said    said
	// closing is the status with which the replica ends the connection, or 0.
	closing int
	// durable tells, of an agent's word on a command, whether the journal on
	// disk said the same when the word was sent.
	durable bool
}

// wireLog is every frame about a command, every welcome, inventory and end, in
// the order of events. Safe for concurrent use.
type wireLog struct {
	mu       sync.Mutex
	passages []passage
}

func (w *wireLog) sent(on *link, up bool, one frame) {
	p := passage{at: time.Now(), link: on, up: up, kind: one.kind, said: one.said, closing: one.closing, durable: true}
	if up && one.said.CommandID != "" {
		p.durable = on.agent.remembers(one.kind, one.said.CommandID)
	}
	w.add(p)
}

func (w *wireLog) arrived(on *link, up bool, one frame) {
	w.add(passage{at: time.Now(), link: on, up: up, arrived: true, kind: one.kind, said: one.said, durable: true})
}

func (w *wireLog) add(p passage) {
	if p.said.CommandID == "" && p.kind != wire.TypeWelcome && p.kind != wire.TypeInventory && p.closing == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.passages = append(w.passages, p)
}

// all gives the log; it is complete once the world has ended.
func (w *wireLog) all() []passage {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.passages[:len(w.passages):len(w.passages)]
}
