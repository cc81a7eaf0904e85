package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

var (
	errRefused = errors.New("sim: connection refused")
	errReset   = errors.New("sim: connection reset")
)

// link is one connection from an agent to a replica.
type link struct {
	number  int
	world   *world
	agent   *agentRun
	replica *replicaRun
	// near is the agent's end, far the replica's.
	near, far *end
	up, down  *lane

	mu sync.Mutex
	// epoch is what the welcome said, 0 before.
	epoch int64
	// upgraded is set once the stream consists of frames.
	upgraded bool
	// broken is when the connection ended for the agent, and torn when it ended
	// for the replica; zero while it goes on.
	broken, torn time.Time
}

// network is all connections of a world. Safe for concurrent use.
type network struct {
	world *world

	mu    sync.Mutex
	links []*link
}

// dial connects an agent's run to some replica.
func (n *network) dial(ctx context.Context, from *agentRun) (net.Conn, error) {
	latency := from.chance.between(time.Millisecond, 8*time.Millisecond)
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	to := n.world.reachable(from)
	if from.life.over() || to == nil {
		return nil, errRefused
	}
	one := &link{world: n.world, agent: from, replica: to}
	n.mu.Lock()
	one.number = len(n.links) + 1
	name := fmt.Sprintf("%s to %s, connection %d", from.machine.name, to.name, one.number)
	c := newChance(n.world.plan.Seed, "link "+name)
	one.near, one.far = newEnd(name), newEnd("far end of "+name)
	one.up = newLane(one, c, one.far, true)
	one.down = newLane(one, c, one.near, false)
	one.near.out, one.far.out = one.up, one.down
	n.links = append(n.links, one)
	n.mu.Unlock()
	select {
	case to.listener.accepted <- one.far:
	default:
		return nil, errRefused
	}
	if to.life.over() || from.life.over() {
		one.cut() // it crashed before the link was among those that it breaks
	}
	return one.near, nil
}

// all gives the links that satisfy the condition, in the order of their making.
func (n *network) all(which func(*link) bool) []*link {
	n.mu.Lock()
	links := slices.Clone(n.links)
	n.mu.Unlock()
	return slices.DeleteFunc(links, func(l *link) bool { return !which(l) })
}

// open tells that both sides take the link for open.
func (l *link) open() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken.IsZero() && l.torn.IsZero()
}

// carries tells that the link is open and nothing that is sent is swallowed.
func (l *link) carries() bool {
	for _, one := range []*lane{l.up, l.down} {
		one.mu.Lock()
		swallowed := one.swallowed
		one.mu.Unlock()
		if swallowed {
			return false
		}
	}
	return l.open()
}

// epochNow is the number that the control plane gave the connection, 0
// before the welcome.
func (l *link) epochNow() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// breakNear resets the agent's end; breakFar the replica's. A side that is not
// broken believes that the connection lives until its own timeouts say no.
func (l *link) breakNear() {
	l.mu.Lock()
	if l.broken.IsZero() {
		l.broken = time.Now()
	}
	l.mu.Unlock()
	l.down.swallow()
	l.near.fail(errReset)
}

func (l *link) breakFar() {
	l.mu.Lock()
	if l.torn.IsZero() {
		l.torn = time.Now()
	}
	l.mu.Unlock()
	l.up.swallow()
	l.far.fail(errReset)
}

func (l *link) cut() {
	l.breakNear()
	l.breakFar()
}
