package agent_test

import (
	"context"
	"testing"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

func TestHowFarAStartIsIsToldNowAndThen(t *testing.T) {
	p, m := newPlane(t), newMachine()
	m.starting = func(_ context.Context, spec driver.Spec) error {
		for percent := range 100 {
			spec.Tell(models.Progress{Message: "pulling image desk", Percent: percent})
		}
		spec.Tell(models.Progress{})
		return nil
	}
	run(t, configure(t, p, m))
	l := p.link()
	l.start("c1", "s", 1)
	if state := l.answered(1, "c1"); state != "running" {
		t.Fatalf("the start gave %q", state)
	}
	first, last := into[wire.Status](l, 1, wire.TypeStatus), into[wire.Status](l, 2, wire.TypeStatus)
	if first.SessionID != "s" || first.Generation != 1 || first.State != "pending" || first.Progress == nil || first.Progress.String() != "pulling image desk" {
		t.Errorf("first is told %+v", first)
	}
	if last.Progress == nil || *last.Progress != (models.Progress{}) {
		t.Errorf("last is told %+v", last)
	}
	l.command("c2", models.ActionWakeSession, wire.StartPayload{SessionID: "w", Generation: 3, User: "ada"})
	if state := l.answered(1, "c2"); state != "running" {
		t.Fatalf("the wake gave %q", state)
	}
	if woken := into[wire.Status](l, 3, wire.TypeStatus); woken.State != "waking" || woken.Generation != 3 {
		t.Errorf("of a wake is told %+v", woken)
	}
	// Of which start it is could not be said, so nothing is.
	l.command("c3", models.ActionStartSession, wire.StartPayload{SessionID: "basic", User: "ada"})
	if state := l.answered(1, "c3"); state != "running" {
		t.Fatalf("the start gave %q", state)
	}
	if count := l.count(wire.TypeStatus); count != 4 {
		t.Errorf("%d words on how far starts are", count)
	}
}
