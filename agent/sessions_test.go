package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

func exit(sessionID string, clean bool) driver.Exit {
	return driver.Exit{Ref: driver.Ref{SessionID: sessionID, Generation: 1}, Clean: clean, Reason: sessionID + " ended"}
}

func TestASessionsOwnEndIsTold(t *testing.T) {
	_, m, l := begin(t)
	l.nth(1, wire.TypeInventory) // what waits by then is told by name, not by time
	m.exits <- exit("clean", true)
	m.exits <- exit("broken", false)
	m.exits <- driver.Exit{Ref: driver.Ref{SessionID: "killed", Generation: 2}, Lost: true, Reason: "nobody knows"}
	for i, want := range []wire.Status{
		{SessionID: "clean", Generation: 1, State: "terminated", Reason: "clean ended"},
		{SessionID: "broken", Generation: 1, State: "failed", Reason: "broken ended", ReasonCode: models.CodeRuntimeExited},
		{SessionID: "killed", Generation: 2, State: "failed", Reason: "nobody knows", ReasonCode: models.CodeRuntimeLost},
	} {
		if got := into[wire.Status](l, i+1, wire.TypeStatus); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("told %+v, want %+v", got, want)
		}
	}
}

// Only the verdict on a later inventory proves that the control plane has the
// reason of an end; until then each connection begins with it.
func TestEndsAreToldUntilTheyAreKnown(t *testing.T) {
	p, m := newPlane(t), newMachine()
	p.mute = true
	r := run(t, configure(t, p, m))
	l := p.link()
	l.nth(1, wire.TypeInventory)
	m.exits <- exit("s", false)
	l.nth(1, wire.TypeStatus)
	l.send(wire.TypeVerdict, wire.Verdict{}) // on the inventory from before the end
	awaitClosed(t, "ready", r.Ready())
	_ = l.socket.CloseNow()

	l = p.link()
	l.nth(1, wire.TypeInventory)
	if kinds := strings.Join(l.kinds(), " "); kinds != "status facilities inventory" {
		t.Errorf("the second connection began with %s", kinds)
	}
	l.send(wire.TypeVerdict, wire.Verdict{})
	l.send(wire.TypePing, nil)
	l.nth(1, wire.TypePong) // so the verdict has been read
	_ = l.socket.CloseNow()

	l = p.link()
	l.nth(1, wire.TypeInventory)
	if kinds := strings.Join(l.kinds(), " "); kinds != "facilities inventory" {
		t.Errorf("the third connection began with %s", kinds)
	}
}

func TestEndsWithoutAConnectionAreToldOnTheNext(t *testing.T) {
	p, m := newPlane(t), newMachine()
	open := make(chan struct{})
	p.refuse = func(http.ResponseWriter, *http.Request) bool {
		<-open
		return false
	}
	run(t, configure(t, p, m))
	m.exits <- exit("s", false)
	m.exits <- driver.Exit{Ref: driver.Ref{SessionID: "s", Generation: 3}, Clean: true}
	m.exits <- driver.Exit{Ref: driver.Ref{SessionID: "s", Generation: 2}} // older news
	m.exits <- exit("t", true)
	m.exits <- exit("t", true)
	close(open)
	l := p.link()
	l.nth(1, wire.TypeInventory)
	if kinds := strings.Join(l.kinds(), " "); kinds != "status status facilities inventory" {
		t.Errorf("the connection began with %s", kinds)
	}
	if status := into[wire.Status](l, 1, wire.TypeStatus); status.SessionID != "s" || status.Generation != 3 {
		t.Errorf("told %+v", status)
	}
}

// R4. What the control plane stops so must not come back either.
func TestAVerdictStopsWhatShouldNotRun(t *testing.T) {
	p, m := newPlane(t), newMachine()
	for _, id := range []string{"orphan", "wanted"} {
		ref := driver.Ref{SessionID: id, Generation: 4}
		m.running[ref] = driver.Runtime{Ref: ref}
	}
	p.judge = func(inventory wire.Inventory) (items []wire.VerdictItem) {
		items = append(items, wire.VerdictItem{SessionID: "../elsewhere", Verdict: wire.VerdictStop}) // of no consequence
		for _, item := range inventory.Items {
			verdict := wire.VerdictKeep
			if item.SessionID == "orphan" {
				verdict = wire.VerdictStop
			}
			items = append(items, wire.VerdictItem{SessionID: item.SessionID, Generation: item.Generation, Verdict: verdict})
		}
		return items
	}
	config := configure(t, p, m)
	first := run(t, config)
	l := p.link()
	m.effect(t, "stop orphan/4")
	for _, item := range into[wire.Inventory](l, 1, wire.TypeInventory).Items {
		if item.Generation != 4 || item.State != string(models.SessionRunning) {
			t.Errorf("the inventory has %+v", item)
		}
	}
	_ = first.stop()
	run(t, config)
	l = p.link()
	l.start("late", "orphan", 4)
	if state := l.answered(1, "late"); state != "terminated superseded" {
		t.Errorf("a start of the stopped generation became %q", state)
	}
	if log := m.log(); log != "stop orphan/4" {
		t.Errorf("the effects are %q", log)
	}
	if count := l.count(wire.TypeFailed); count != 0 {
		t.Errorf("%d commands failed", count)
	}
}

func TestAVerdictThatIsBeingCarriedOutIsNotRepeated(t *testing.T) {
	p, m := newPlane(t), newMachine()
	ref := driver.Ref{SessionID: "orphan", Generation: 1}
	m.running[ref] = driver.Runtime{Ref: ref}
	p.judge = func(inventory wire.Inventory) (items []wire.VerdictItem) {
		for _, item := range inventory.Items {
			items = append(items, wire.VerdictItem{SessionID: item.SessionID, Generation: item.Generation, Verdict: wire.VerdictStop})
		}
		return items
	}
	gate := newHanging()
	m.stopping = gate.wait
	config := configure(t, p, m)
	config.InventoryEvery = time.Millisecond
	run(t, config)
	l := p.link()
	l.nth(20, wire.TypeInventory)
	if count := len(gate.reached); count != 1 {
		t.Errorf("while it is being stopped it was stopped %d times", count)
	}
	close(gate.open)
	m.effect(t, "stop orphan/1")
	l.nth(len(l.kinds())+5, wire.TypeInventory)
	if log := m.log(); strings.Count(log, "stop") > 2 { // one verdict may have been on its way
		t.Errorf("the effects are %q", log)
	}
}

// slowLister takes long to say what runs, and by then it is not true any more.
type slowLister struct {
	*machine
	gate hanging
}

func (s slowLister) Inventory(ctx context.Context) ([]driver.Runtime, error) {
	list, err := s.machine.Inventory(ctx)
	if err == nil {
		err = s.gate.wait(ctx, driver.Ref{})
	}
	return list, err
}

// The control plane may know of such a session before it gets the list, and
// would take one that is not in it for lost.
func TestAnInventoryHasWhatWasStartedWhileItWasMade(t *testing.T) {
	p, m := newPlane(t), newMachine()
	old := driver.Ref{SessionID: "old", Generation: 2}
	m.running[old] = driver.Runtime{Ref: old}
	lister := slowLister{m, newHanging()}
	config := configure(t, p, m)
	config.Driver, config.InventoryEvery = lister, time.Millisecond
	run(t, config)
	l := p.link()
	lister.gate.await(t)
	l.start("c1", "new", 1)
	if state := l.answered(1, "c1"); state != "running" {
		t.Fatalf("the start became %q", state)
	}
	lister.gate.open <- struct{}{}
	has := func(n int, want ...wire.InventoryItem) {
		t.Helper()
		items := into[wire.Inventory](l, n, wire.TypeInventory).Items
		slices.SortFunc(items, func(a, b wire.InventoryItem) int { return strings.Compare(a.SessionID, b.SessionID) })
		if !slices.Equal(items, want) {
			t.Errorf("inventory %d has %+v, want %+v", n, items, want)
		}
	}
	running := func(id string, generation int64) wire.InventoryItem {
		return wire.InventoryItem{SessionID: id, Generation: generation, State: string(models.SessionRunning)}
	}
	has(1, running("new", 1), running("old", 2))

	// What a list could have had and has not is gone.
	lister.gate.await(t)
	m.mu.Lock()
	clear(m.running)
	m.mu.Unlock()
	lister.gate.open <- struct{}{} // this list was taken before
	has(2, running("new", 1), running("old", 2))
	lister.gate.await(t)
	close(lister.gate.open)
	has(3)
}
