package sim

import (
	"bytes"
	"io"
	"sync"
	"time"

	"github.com/streamspace/streamspace/wire"
)

// lane is one direction of a link. Once the connection is a WebSocket it
// carries frames, and what becomes of each is decided here.
type lane struct {
	link   *link
	chance *chance
	to     *end
	// up is towards the replica.
	up bool

	mu      sync.Mutex
	partial []byte
	// last is when what was sent before arrives: nothing arrives earlier but
	// what a fault holds back.
	last time.Time
	// swallowed is set when nothing arrives any more.
	swallowed bool
}

func newLane(of *link, c *chance, to *end, up bool) *lane {
	return &lane{link: of, chance: c, to: to, up: up, last: time.Now()}
}

// swallow lets nothing more in. What is under way arrives.
func (l *lane) swallow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.swallowed = true
}

// close tells the other end, after everything before.
func (l *lane) close() {
	l.mu.Lock()
	silent := l.swallowed
	l.swallowed = true
	at := l.next(0)
	l.mu.Unlock()
	l.link.mu.Lock()
	if l.up && l.link.broken.IsZero() {
		l.link.broken = time.Now()
	} else if !l.up && l.link.torn.IsZero() {
		l.link.torn = time.Now()
	}
	l.link.mu.Unlock()
	if !silent {
		time.AfterFunc(time.Until(at), func() { l.to.fail(io.EOF) })
	}
}

// next is when something sent now arrives. The caller has the lock.
func (l *lane) next(extra time.Duration) time.Time {
	at := time.Now().Add(l.chance.between(time.Millisecond, 8*time.Millisecond) + extra)
	if !at.After(l.last) {
		at = l.last.Add(time.Duration(1 + l.chance.pick(1000)))
	}
	l.last = at
	return at
}

// feed takes what an end has written.
func (l *lane) feed(content []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.swallowed {
		return
	}
	content = append(l.partial, content...)
	l.partial = nil
	if !l.frames() {
		head, rest, upgraded := bytes.Cut(content, []byte("\r\n\r\n"))
		if l.up || !bytes.HasPrefix(content, []byte("HTTP/1.1 101")) || !upgraded {
			l.arrive(content, l.next(0), nil)
			return
		}
		l.arrive(append(append([]byte(nil), head...), "\r\n\r\n"...), l.next(0), nil)
		l.link.mu.Lock()
		l.link.upgraded = true
		l.link.mu.Unlock()
		content = rest
	}
	for !l.swallowed {
		one, rest, whole := cutFrame(content)
		if !whole {
			l.partial = append([]byte(nil), rest...)
			return
		}
		content = rest
		l.carry(one)
	}
}

func (l *lane) frames() bool {
	l.link.mu.Lock()
	defer l.link.mu.Unlock()
	return l.link.upgraded
}

// carry decides what becomes of a frame.
func (l *lane) carry(one frame) {
	w := l.link.world
	if l.up && one.kind == wire.TypeHeartbeat {
		one = l.link.agent.machine.reword(one)
	}
	if one.kind == wire.TypeWelcome {
		l.link.mu.Lock()
		l.link.epoch = one.said.Epoch
		l.link.mu.Unlock()
	}
	w.wireLog.sent(l.link, l.up, one)
	hurt := w.faults.strikes
	switch {
	case l.losable(one.kind) && hurt(FrameLost, l.chance, 0.03):
		return
	case one.kind != "" && hurt(LinkCut, l.chance, 0.006):
		go l.link.cut()
		return
	case one.kind != "" && hurt(HalfOpen, l.chance, 0.004):
		l.halve()
		return
	}
	extra := time.Duration(0)
	if one.kind != "" && hurt(FrameDelayed, l.chance, 0.02) {
		extra = l.chance.between(50*time.Millisecond, 6*time.Second)
	}
	if l.repeatable(one.kind) && hurt(FrameDoubled, l.chance, 0.05) {
		l.arrive(one.raw, time.Now().Add(l.chance.between(10*time.Millisecond, 15*time.Second)), &one)
	}
	if l.repeatable(one.kind) && hurt(FrameReordered, l.chance, 0.03) {
		l.arrive(one.raw, time.Now().Add(l.chance.between(10*time.Millisecond, 4*time.Second)), &one)
		return
	}
	l.arrive(one.raw, l.next(extra), &one)
}

// halve lets nothing through from here on, in this direction or in both, and
// tells at most one side.
func (l *lane) halve() {
	l.swallowed = true
	switch l.chance.pick(3) {
	case 0: // this direction alone
	case 1:
		go l.link.breakNear()
	case 2:
		other := l.link.down
		if !l.up {
			other = l.link.up
		}
		go other.swallow()
	}
}

// losable are the frames whose loss alone the protocol repairs by itself, on a
// connection that goes on. TCP loses none; a lost answer is what a connection
// that breaks does.
func (l *lane) losable(kind wire.Type) bool {
	switch kind {
	case wire.TypeCommand, wire.TypeAck, wire.TypeHeartbeat, wire.TypePing, wire.TypePong:
		return true
	case wire.TypeComplete, wire.TypeFailed, wire.TypeInventory, wire.TypeVerdict, wire.TypeStatus:
		return l.link.world.plan.Hasty
	}
	return false
}

// repeatable are the frames that may come twice and in any order.
func (l *lane) repeatable(kind wire.Type) bool {
	switch kind {
	case wire.TypeCommand, wire.TypeAck, wire.TypeComplete, wire.TypeFailed, wire.TypeHeartbeat:
		return true
	}
	return false
}

// arrive has bytes delivered at the given time.
func (l *lane) arrive(content []byte, at time.Time, one *frame) {
	time.AfterFunc(time.Until(at), func() {
		if one != nil {
			l.link.world.wireLog.arrived(l.link, l.up, *one)
		}
		l.to.deliver(content)
	})
}
