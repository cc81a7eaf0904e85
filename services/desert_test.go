package services

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

func TestPlanDeserted(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UTC()
	plain, home := models.TemplateSpec{}, models.TemplateSpec{PersistentHome: true}
	roaming, anchored := models.TemplateSpec{OnLost: models.OnLostRecreate}, models.TemplateSpec{OnLost: models.OnLostRestart}
	roamingHome, mortalHome := models.TemplateSpec{OnLost: models.OnLostRecreate, PersistentHome: true}, models.TemplateSpec{OnLost: models.OnLostFail, PersistentHome: true}
	silent, unknown := desertion{reason: "it is silent", shared: true}, desertion{reason: "it has no row", forever: true}
	removed, removedShared := desertion{reason: "it was removed", forever: true, dead: true}, desertion{reason: "it was removed", forever: true, dead: true, shared: true}
	running, asleep := models.SessionRunning, models.SessionHibernated
	for _, c := range []struct {
		name  string
		state models.SessionState
		spec  models.TemplateSpec
		from  desertion
		want  step
		says  string
	}{
		{"silent, no home", running, plain, silent, forceEnd, "it is silent. Launch it again"},
		{"silent, home", running, home, silent, leave, ""},
		{"silent, anywhere", running, roaming, silent, recreate, "it is silent; it is placed anew, for the first time"},
		{"silent, anywhere with its home", running, roamingHome, silent, leave, ""},
		{"silent, there and nowhere else", running, anchored, silent, leave, ""},
		{"silent, to fail with its home", running, mortalHome, silent, forceEnd, "home was there"},
		{"silent, asleep", asleep, home, silent, leave, ""},
		{"no row, no home", running, plain, unknown, forceEnd, "it has no row"},
		{"no row, home", running, home, unknown, forceEnd, "the session's home was there"},
		{"no row, anywhere", running, roaming, unknown, recreate, "placed anew"},
		{"no row, there and nowhere else", running, anchored, unknown, forceEnd, "it has no row"},
		{"no row, asleep", asleep, home, unknown, leave, ""},
		{"removed, home", running, home, removed, forceEnd, "the session's home was there"},
		{"removed, home elsewhere too", running, home, removedShared, rehome, "on other agents too"},
		{"removed, anywhere with its home", running, roamingHome, removedShared, rehome, "on other agents too"},
		{"removed, anywhere", running, roaming, removedShared, recreate, "placed anew"},
		{"removed, to fail with its home", running, mortalHome, removedShared, forceEnd, "home was there"},
		{"removed, asleep", asleep, home, removed, forceEnd, "home was there"},
		{"removed, asleep, home elsewhere too", asleep, home, removedShared, rehome, "on other agents too"},
		{"removed, falling asleep", models.SessionHibernating, home, removedShared, rehome, "on other agents too"},
		{"removed, starting", models.SessionPending, roaming, removed, forceEnd, "it was removed"},
		{"removed, waking", models.SessionWaking, home, removedShared, forceEnd, "it was removed"},
		{"removed, stopping", models.SessionTerminating, plain, removed, forceEnd, "it was removed"},
		{"removed, ended", models.SessionFailed, plain, removed, leave, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			session := models.Session{ID: "s", AgentID: "a", Generation: 3, State: c.state}
			session.Spec.Spec = c.spec
			got := planDeserted(session, c.from, now)
			if got.step != c.want || !strings.Contains(got.reason, c.says) || got.step != leave && got.code != models.CodeAgentUnavailable {
				t.Errorf("got %+v", got)
			}
			if got.step == recreate && (len(got.losses) != 1 || got.losses[0].AgentID != "a" || got.losses[0].Generation != 3) {
				t.Errorf("the losses are %+v", got.losses)
			}
			if got.step == forceEnd && (got.to == models.SessionTerminated) != (c.state == models.SessionTerminating) {
				t.Errorf("it ends as %s", got.to)
			}
		})
	}
	often := models.Session{AgentID: "a", State: running, Losses: []models.Loss{{At: now.Add(-9 * time.Minute)}, {At: now.Add(-5 * time.Minute)}, {At: now.Add(-3 * time.Minute)}}}
	often.Spec.Spec = roaming
	if got := planDeserted(often, silent, now); got.step != forceEnd || !strings.Contains(got.reason, "3 times within 10m") {
		t.Errorf("begun again for ever: %+v", got)
	}
}

// R3, H4: what keeps a home begins nowhere else before somebody says that its
// runtime is dead, and nothing is done for a silence that is too short or that
// nobody has listened to.
func TestDesertedKeepsItsPromises(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	limits := defaultLimits()
	before := func(t *rapid.T, label string) time.Time {
		return now.Add(-time.Duration(rapid.IntRange(0, 7200).Draw(t, label)) * time.Second)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := situation{now: now, watching: before(t, "watching"), connected: rapid.Bool().Draw(t, "connected"),
			StuckSession: db.StuckSession{Session: models.Session{AgentID: "a", StateSince: before(t, "since"),
				State: rapid.SampledFrom(models.SessionStates()).Draw(t, "state")}}}
		s.Session.Spec.Spec = models.TemplateSpec{PersistentHome: rapid.Bool().Draw(t, "home"),
			OnLost: rapid.SampledFrom([]models.OnLost{"", models.OnLostFail, models.OnLostRecreate, models.OnLostRestart}).Draw(t, "policy")}
		if rapid.Bool().Draw(t, "registered") {
			heard := before(t, "heartbeat")
			s.Agent = &models.Agent{ID: "a", LastHeartbeat: &heard}
		}
		got := deserted(s, limits)
		silence := now.Sub(s.watching)
		if s.Agent != nil {
			silence = min(silence, now.Sub(*s.Agent.LastHeartbeat))
		}
		home := s.Session.Spec.Spec.PersistentHome
		switch {
		case got.step != leave && (s.connected || silence <= limits.agentGone):
			t.Fatalf("%+v after a silence of %s", got, silence)
		case home && (got.step == recreate || got.step == rehome || got.step == restart):
			t.Fatalf("%+v although what has the home may run", got)
		case got.step != leave && !s.Session.State.CanBecome(got.to):
			t.Fatalf("%+v of a %s session", got, s.Session.State)
		case got.step == leave && s.Session.State == models.SessionRunning && s.Agent == nil && !s.connected &&
			min(silence, now.Sub(s.Session.StateSince)) > limits.agentGone:
			t.Fatal("it stays for ever on an agent that has no row")
		}
	})
}
