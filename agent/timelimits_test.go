package agent_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent"
	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
	"github.com/streamspace/streamspace/wire"
)

// hands is a clock that a test moves. It counts how often it is read.
type hands struct {
	mu    sync.Mutex
	now   time.Time
	reads int
}

func (h *hands) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	return h.now
}

func (h *hands) advance(by time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(by)
}

// looked waits until an agent that does nothing else, except to begin, has looked
// at its sessions' time limits.
func (h *hands) looked(t *testing.T) {
	t.Helper()
	read := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.reads
	}
	from := read()
	program.Eventually(t, "a look", soon, func() error {
		if read() < from+6 {
			return errors.New("not yet")
		}
		return nil
	})
}

// timed configures an agent whose clock the test moves, and a control plane that
// is away while away says so.
func timed(t *testing.T) (p *plane, m *machine, clock *hands, config agent.Config, away *atomic.Bool) {
	t.Helper()
	p, m, clock, away = newPlane(t), newMachine(), &hands{now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}, &atomic.Bool{}
	p.refuse = func(w http.ResponseWriter, _ *http.Request) bool {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
		return away.Load()
	}
	m.now = clock.Now
	config = configure(t, p, m)
	config.Now, config.TimeLimitsEvery = clock.Now, 2*time.Millisecond
	return p, m, clock, config, away
}

// limited starts a session with time limits.
func (l *link) limited(sessionID string, spec map[string]any) {
	l.t.Helper()
	spec["displayName"] = "Desktop"
	l.command("start "+sessionID, models.ActionStartSession, map[string]any{
		"sessionId": sessionID, "generation": 1, "user": "ada", "template": "desktop", "persistentHome": spec["persistentHome"] == true,
		"templateManifest": map[string]any{"metadata": map[string]any{"name": "desktop"}, "spec": spec},
	})
	if state := l.answered(1, "start "+sessionID); state != "running" {
		l.t.Fatalf("it is %s", state)
	}
}

// leave cuts the connection off, and has the control plane be away.
func (l *link) leave(away *atomic.Bool) {
	away.Store(true)
	_ = l.socket.CloseNow()
}

func TestALongSessionIsEndedWithoutTheControlPlane(t *testing.T) {
	p, m, clock, config, away := timed(t)
	r := run(t, config)
	l := p.link()
	l.limited("s", map[string]any{"maxDuration": "1h", "idleTimeout": "50m"})
	l.limited("free", map[string]any{})
	clock.advance(30 * time.Minute)
	clock.looked(t)
	l.leave(away)
	program.Eventually(t, "the agent knows", soon, func() error {
		if !strings.Contains(r.log.String(), "not connected") {
			return errors.New("not yet")
		}
		return nil
	})
	clock.advance(30*time.Minute - time.Microsecond)
	clock.looked(t)
	if log := m.log(); strings.Contains(log, "stop") {
		t.Fatalf("the effects are %s", log)
	}
	clock.advance(time.Microsecond)
	m.effect(t, "stop s/1")

	away.Store(false)
	l = p.link()
	l.nth(1, wire.TypeInventory)
	if status := into[wire.Status](l, 1, wire.TypeStatus); status.SessionID != "s" || status.Generation != 1 || status.State != "terminated" ||
		status.ReasonCode != models.CodeMaxDuration || status.Reason != "it ran for 1h, the longest that it may at a stretch" {
		t.Errorf("told %+v", status)
	}
	// It is not told again once it is known, neither by this agent nor by the next.
	program.Eventually(t, "the journal knows", soon, func() error {
		content, err := os.ReadFile(config.JournalPath)
		if err == nil && !strings.Contains(string(content), `"kind":"told"`) {
			err = errors.New("not yet")
		}
		return err
	})
	_ = r.stop()
	run(t, config)
	l = p.link()
	l.nth(1, wire.TypeInventory)
	if kinds := strings.Join(l.kinds(), " "); kinds != "facilities inventory" {
		t.Errorf("the connection began with %s", kinds)
	}
	if log := m.log(); strings.Count(log, "stop") != 1 {
		t.Errorf("the effects are %s", log)
	}
}

// Whatever the moment at which the agent is started anew, an unused session ends
// once, and the control plane hears of it.
func TestAnUnusedSessionIsEndedAcrossRestarts(t *testing.T) {
	p, m, clock, config, away := timed(t)
	var broken atomic.Bool
	m.stopping = func(context.Context, driver.Ref) error {
		if broken.Load() {
			return errors.New("the platform does not answer")
		}
		return nil
	}
	first := run(t, config)
	l := p.link()
	l.limited("s", map[string]any{"idleTimeout": "10m", "onLimit": "hibernate", "persistentHome": true})
	l.leave(away)
	_ = first.stop()

	clock.advance(time.Hour) // during which no agent was there
	second := run(t, config)
	clock.looked(t)
	clock.advance(10*time.Minute - time.Second)
	clock.looked(t)
	if log := m.log(); strings.Contains(log, "stop") {
		t.Fatalf("the effects are %s", log)
	}
	broken.Store(true)
	clock.advance(time.Second)
	program.Eventually(t, "a try to stop it", soon, func() error {
		if !strings.Contains(second.log.String(), "the platform does not answer") {
			return errors.New("not yet")
		}
		return nil
	})
	_ = second.stop()

	// It was decided: the next one does it, however little it has been unused since.
	broken.Store(false)
	third := run(t, config)
	m.effect(t, "stop s/1")
	_ = third.stop()

	away.Store(false)
	run(t, config)
	l = p.link()
	status := into[wire.Status](l, 1, wire.TypeStatus)
	if status.SessionID != "s" || status.State != "hibernated" || status.ReasonCode != models.CodeIdleTimeout || status.Reason != "nobody used it for 10m" {
		t.Errorf("told %+v", status)
	}
	// A start that comes once more does not bring it back.
	l.start("start again", "s", 1)
	if state := l.answered(1, "start again"); state != "terminated superseded" {
		t.Errorf("it is %s", state)
	}
	if log := m.log(); strings.Count(log, "start") != 1 {
		t.Errorf("the effects are %s", log)
	}
}

// With a connection the control plane keeps the limits, but for one that it has
// let go by.
func TestAConnectedAgentLeavesLimitsToTheControlPlane(t *testing.T) {
	p, m, clock, config, _ := timed(t)
	run(t, config)
	l := p.link()
	l.limited("s", map[string]any{"maxDuration": "1h", "idleTimeout": "5m"})
	clock.advance(time.Hour + agent.DefaultTimeLimitsGrace - time.Microsecond)
	clock.looked(t)
	if log := m.log(); strings.Contains(log, "stop") {
		t.Fatalf("the effects are %s", log)
	}
	clock.advance(time.Microsecond)
	m.effect(t, "stop s/1")
	if status := into[wire.Status](l, 1, wire.TypeStatus); status.State != "terminated" || status.ReasonCode != models.CodeMaxDuration {
		t.Errorf("told %+v", status)
	}
}

// slowStopper has stopped a runtime a while before it says so.
type slowStopper struct {
	*machine
	gate hanging
}

func (s slowStopper) Stop(ctx context.Context, ref driver.Ref) error {
	if err := s.machine.Stop(ctx, ref); err != nil {
		return err
	}
	return s.gate.wait(ctx, ref)
}

// The control plane would take a session that is not in an inventory for lost, and
// not hear why it ended.
func TestAnEndIsToldBeforeTheSessionIsMissed(t *testing.T) {
	p, m, clock, config, _ := timed(t)
	stopper := slowStopper{m, newHanging()}
	config.Driver, config.InventoryEvery = stopper, 5*time.Millisecond
	run(t, config)
	l := p.link()
	l.limited("s", map[string]any{"maxDuration": "1h"})
	clock.advance(2 * time.Hour)
	stopper.gate.await(t)
	n := l.count(wire.TypeInventory) + 2 // one that was made before, and a new one
	if items := into[wire.Inventory](l, n, wire.TypeInventory).Items; len(items) != 1 {
		t.Errorf("while it ends the inventory has %+v", items)
	}
	close(stopper.gate.open)
	l.nth(1, wire.TypeStatus)
	program.Eventually(t, "it is missed", soon, func() error {
		n := l.count(wire.TypeInventory) + 1
		if items := into[wire.Inventory](l, n, wire.TypeInventory).Items; len(items) != 0 {
			return errors.New("not yet")
		}
		return nil
	})
}
