package websocket

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

const (
	// pulseEvery is how often heartbeats are written: one transaction for all
	// agents, so that ten thousand of them cost the database no more than ten.
	// It is far below the age at which a heartbeat is no longer recent.
	pulseEvery = time.Second
	// pulseBatch bounds the agents of one transaction.
	pulseBatch = 1000
)

// pulses are the heartbeats that are not written yet, the last of each agent.
type pulses struct {
	mu      sync.Mutex
	waiting map[string]db.Pulse
	// now asks for them to be written without delay.
	now chan struct{}
}

// hurry has what waits written now.
func (p *pulses) hurry() {
	select {
	case p.now <- struct{}{}:
	default:
	}
}

// add takes a heartbeat. Draining is not forgotten for one that says otherwise.
func (p *pulses) add(pulse db.Pulse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, waits := p.waiting[pulse.AgentID]
	if waits && before.Epoch > pulse.Epoch {
		return
	}
	if waits && before.Epoch == pulse.Epoch {
		if before.Heartbeat.Status == models.AgentDraining {
			pulse.Heartbeat.Status = models.AgentDraining
		}
		if pulse.Heartbeat.Capacity == nil {
			pulse.Heartbeat.Capacity = before.Heartbeat.Capacity
		}
	}
	p.waiting[pulse.AgentID] = pulse
}

// take gives some heartbeats to be written, in the order of agents.
func (p *pulses) take() []db.Pulse {
	p.mu.Lock()
	defer p.mu.Unlock()
	batch := make([]db.Pulse, 0, min(len(p.waiting), pulseBatch))
	for agentID, pulse := range p.waiting {
		if len(batch) == pulseBatch {
			break
		}
		batch = append(batch, pulse)
		delete(p.waiting, agentID)
	}
	slices.SortFunc(batch, func(a, b db.Pulse) int { return strings.Compare(a.AgentID, b.AgentID) })
	return batch
}

// keepPulses writes heartbeats until Stop.
func (h *AgentHub) keepPulses() {
	ticker := time.NewTicker(pulseEvery)
	defer ticker.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-ticker.C:
		case <-h.pulses.now:
		}
		h.writePulses(context.Background())
	}
}

// writePulses writes the heartbeats that came since the last time. Those that
// cannot be written are given up: the next ones are on their way.
func (h *AgentHub) writePulses(ctx context.Context) {
	for {
		batch := h.pulses.take()
		if len(batch) == 0 {
			return
		}
		current, err := h.database.RecordHeartbeats(ctx, batch)
		if err != nil {
			h.options.Logger.Error("record heartbeats", "agents", len(batch), "error", err)
			return
		}
		for _, pulse := range batch {
			if c := h.current(pulse.AgentID); c != nil && c.peer.Epoch == pulse.Epoch && !current[pulse.AgentID] {
				c.end(endReplaced)
			}
		}
	}
}

// heartbeat notes that the agent lives. One that changes what the agent says of
// itself is written at once.
func (h *AgentHub) heartbeat(c *connection, message wire.Envelope) error {
	var heartbeat wire.Heartbeat
	if err := message.Into(&heartbeat); err != nil {
		return err
	}
	c.heard()
	h.pulses.add(db.Pulse{AgentID: c.peer.AgentID, Epoch: c.peer.Epoch, Heartbeat: heartbeat, At: h.options.Now()})
	if news := heartbeat.Status != c.said; news {
		c.said = heartbeat.Status
		h.pulses.hurry()
	}
	return nil
}
