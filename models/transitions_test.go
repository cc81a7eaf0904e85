package models_test

import (
	"slices"
	"testing"

	"github.com/streamspace/streamspace/models"
)

func commandBecomes(from string) (next []string) {
	for _, to := range models.CommandStates() {
		if models.CanCommandBecome(from, to) {
			next = append(next, to)
		}
	}
	return next
}

func sessionBecomes(from models.SessionState) (next []models.SessionState) {
	for _, to := range models.SessionStates() {
		if from.CanBecome(to) {
			next = append(next, to)
		}
	}
	return next
}

// D3: nothing leaves a terminal state, and every other state can be left.
func TestOnlyTerminalStatesAbsorb(t *testing.T) {
	for _, state := range models.SessionStates() {
		if next := sessionBecomes(state); (len(next) == 0) != state.Terminal() {
			t.Errorf("a %s session, terminal %v, can become %v", state, state.Terminal(), next)
		}
		if state.CanBecome(state) || state.CanBecome("") || state.CanBecome("nonsense") {
			t.Errorf("a %s session can become itself, or nothing", state)
		}
	}
	for _, state := range models.CommandStates() {
		terminal := state == models.CommandCompleted || state == models.CommandFailed
		if next := commandBecomes(state); (len(next) == 0) != terminal {
			t.Errorf("a %s command can become %v", state, next)
		}
	}
	if models.SessionState("nonsense").CanBecome(models.SessionRunning) || models.CanCommandBecome("nonsense", models.CommandSent) {
		t.Error("what is no state can become something")
	}
}

// Stop is legal in every state that lives, and always ends: terminating is one
// step away and leads only to an end. So does failing.
func TestEverySessionCanEnd(t *testing.T) {
	for _, state := range models.SessionStates() {
		if state.Terminal() {
			continue
		}
		if state != models.SessionTerminating && !state.CanBecome(models.SessionTerminating) {
			t.Errorf("a %s session cannot be stopped", state)
		}
		if !state.CanBecome(models.SessionFailed) {
			t.Errorf("a %s session cannot fail", state)
		}
	}
	for _, next := range sessionBecomes(models.SessionTerminating) {
		if !next.Terminal() {
			t.Errorf("a session that is being stopped can become %s", next)
		}
	}
}

// A command only moves forward.
func TestCommandsNeverGoBack(t *testing.T) {
	states := models.CommandStates()
	for i, from := range states {
		for _, to := range states[:i+1] {
			if models.CanCommandBecome(from, to) {
				t.Errorf("a %s command can become %s", from, to)
			}
		}
	}
}

// What the guarded writes ask is the same as what is asked in code.
func TestPredecessorsMirrorTransitions(t *testing.T) {
	for _, to := range models.SessionStates() {
		for _, from := range models.SessionStates() {
			if slices.Contains(to.Predecessors(), from) != from.CanBecome(to) {
				t.Errorf("session: %s to %s", from, to)
			}
		}
	}
	for _, to := range models.CommandStates() {
		for _, from := range models.CommandStates() {
			if slices.Contains(models.CommandPredecessors(to), from) != models.CanCommandBecome(from, to) {
				t.Errorf("command: %s to %s", from, to)
			}
		}
	}
}

// Capacity is held by what runs, or may still run.
func TestLiveStatesHoldCapacity(t *testing.T) {
	free := []models.SessionState{models.SessionHibernated, models.SessionTerminated, models.SessionFailed}
	for _, state := range models.SessionStates() {
		if state.Live() == slices.Contains(free, state) {
			t.Errorf("a %s session holds capacity: %v", state, state.Live())
		}
	}
}
