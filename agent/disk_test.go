package agent_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// judged answers as a control plane that wants one generation of each session.
func judged(wanted map[string]int64) func(wire.Inventory) []wire.VerdictItem {
	return func(inventory wire.Inventory) (items []wire.VerdictItem) {
		for _, item := range inventory.Items {
			verdict := wire.VerdictStop
			if wanted[item.SessionID] == item.Generation {
				verdict = wire.VerdictAdopt
			}
			items = append(items, wire.VerdictItem{SessionID: item.SessionID, Generation: item.Generation, Verdict: verdict})
		}
		return items
	}
}

// With its journal gone an agent does what it is asked to again, and finds it
// done; what it had stopped the control plane does not ask for.
func TestAnAgentWhoseDiskWasWipedEndsRight(t *testing.T) {
	for _, kept := range []bool{true, false} {
		p, m := newPlane(t), newMachine()
		config := configure(t, p, m)
		first := run(t, config)
		l := p.link()
		l.start("c1", "stays", 1)
		l.answered(1, "c1")
		l.start("c2", "stopped", 1)
		l.answered(1, "c2")
		l.stop("c3", "stopped", 2)
		l.answered(1, "c3")
		if err := first.stop(); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if err := os.Remove(config.JournalPath); err != nil {
			t.Fatal(err)
		}
		want := "start stays/1, start stopped/1, stop stopped/2"
		if !kept {
			m.mu.Lock()
			clear(m.running)
			m.mu.Unlock()
			want += ", start stays/1"
		}
		run(t, config)
		l = p.link()
		listed := into[wire.Inventory](l, 1, wire.TypeInventory)
		if kept != (len(listed.Items) == 1) {
			t.Fatalf("runtimes kept: %v, and it lists %+v", kept, listed.Items)
		}
		l.start("c1", "stays", 1) // its answer never came
		if answer := l.answered(1, "c1"); answer != "running" {
			t.Errorf("asked again it answers %s", answer)
		}
		if log := m.log(); log != want {
			t.Errorf("the effects are %q, want %q", log, want)
		}
		if len(m.refs()) != 1 {
			t.Errorf("%d sessions run", len(m.refs()))
		}
	}
}

// A machine that is restored from a backup runs what ran then, and its journal
// knows nothing of what came later.
func TestAnAgentThatWasRestoredFromABackupEndsRight(t *testing.T) {
	p, m := newPlane(t), newMachine()
	config := configure(t, p, m)
	first := run(t, config)
	l := p.link()
	l.start("c1", "ended", 1)
	l.start("c2", "woken", 1)
	l.start("c3", "same", 1)
	for _, id := range []string{"c1", "c2", "c3"} {
		l.answered(1, id)
	}
	backup, err := os.ReadFile(config.JournalPath)
	if err != nil {
		t.Fatal(err)
	}
	then := m.refs()
	l.stop("c4", "ended", 2)
	l.command("c5", models.ActionHibernateSession, map[string]any{"sessionId": "woken", "generation": 2})
	l.answered(1, "c4")
	l.answered(1, "c5")
	if err := first.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := os.WriteFile(config.JournalPath, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	for _, ref := range then {
		m.running[ref] = driver.Runtime{Ref: ref}
	}
	m.effects = nil
	m.mu.Unlock()
	p.judge = judged(map[string]int64{"same": 1, "woken": 3})
	run(t, config)
	l = p.link()
	l.command("c6", models.ActionWakeSession, map[string]any{"sessionId": "woken", "generation": 3, "user": "ada", "template": "desktop",
		"templateManifest": map[string]any{"metadata": map[string]any{"name": "desktop"}, "spec": map[string]any{"displayName": "Desktop"}}})
	if answer := l.answered(1, "c6"); answer != "running" {
		t.Errorf("the wake gives %s", answer)
	}
	m.effect(t, "stop ended/1")
	m.effect(t, "stop woken/1")
	m.effect(t, "start woken/3")
	if refs := m.refs(); len(refs) != 2 {
		t.Errorf("%v run", refs)
	}
	// A start of what the verdict has stopped is nothing new.
	l.start("c1", "ended", 1)
	if answer := l.answered(1, "c1"); answer != "running" {
		t.Errorf("it says %s of what it remembers", answer)
	}
	l.start("c7", "ended", 1)
	if answer := l.answered(1, "c7"); answer != "terminated superseded" {
		t.Errorf("a late start of what was stopped gives %s", answer)
	}
}

// What is being started may fail still, so it is not said to run.
func TestAnInventoryTellsWhatIsBeingStarted(t *testing.T) {
	p, m := newPlane(t), newMachine()
	ref := driver.Ref{SessionID: "slow", Generation: 1}
	m.running[driver.Ref{SessionID: "runs", Generation: 1}] = driver.Runtime{Ref: driver.Ref{SessionID: "runs", Generation: 1}}
	// One that an earlier run of the agent has begun, and nobody goes on with yet.
	m.running[driver.Ref{SessionID: "begun", Generation: 1}] = driver.Runtime{Ref: driver.Ref{SessionID: "begun", Generation: 1}, Starting: true}
	gate := newHanging()
	m.starting = func(ctx context.Context, spec driver.Spec) error {
		m.mu.Lock()
		m.running[ref] = driver.Runtime{Ref: ref} // its stream cannot be dialled yet
		m.mu.Unlock()
		return gate.wait(ctx, spec.Ref)
	}
	config := configure(t, p, m)
	config.InventoryEvery = soon / 100
	run(t, config)
	l := p.link()
	l.start("c1", "slow", 1)
	gate.await(t)
	says := func(state string) {
		t.Helper()
		first := l.count(wire.TypeInventory) + 1
		for n := first; ; n++ {
			items := map[string]string{}
			for _, item := range into[wire.Inventory](l, n, wire.TypeInventory).Items {
				items[item.SessionID] = item.State
			}
			if items["runs"] != "running" || items["begun"] != "pending" {
				t.Fatalf("it lists %v", items)
			}
			if items["slow"] == state {
				return
			}
			if n > first+20 {
				t.Fatalf("it lists %v and not what is %s", items, state)
			}
		}
	}
	says("pending")
	close(gate.open)
	l.answered(1, "c1")
	says("running")
}
