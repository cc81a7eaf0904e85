package services

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

func defaultLimits() thresholds {
	return NewSessionReconciler(nil, nil, nil).limits
}

func TestPlan(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	minutes := func(n int) time.Duration { return time.Duration(n) * time.Minute }
	type want struct {
		step step
		to   models.SessionState
		code models.ErrorCode
		says string
	}
	for _, c := range []struct {
		name      string
		state     models.SessionState
		age       time.Duration
		agentID   string
		agent     *models.Agent
		connected bool
		watching  time.Duration
		want      want
	}{
		{name: "not yet", state: models.SessionPending, age: minutes(5), agentID: "a", connected: true,
			agent: &models.Agent{ID: "a"}, want: want{step: leave}},
		{name: "running is never stuck", state: models.SessionRunning, age: minutes(9999), agentID: "a",
			agent: &models.Agent{ID: "a"}, want: want{step: leave}},
		{name: "pending, connected", state: models.SessionPending, age: minutes(6), agentID: "a", connected: true,
			agent: &models.Agent{ID: "a"}, want: want{step: reissue}},
		{name: "terminating, connected", state: models.SessionTerminating, age: minutes(6), agentID: "a", connected: true,
			agent: &models.Agent{ID: "a"}, want: want{step: reissue}},
		{name: "away, may come back", state: models.SessionTerminating, age: minutes(60), agentID: "a", watching: minutes(60),
			agent: &models.Agent{ID: "a", LastHeartbeat: ago(minutes(10))}, want: want{step: leave}},
		{name: "connected to another replica", state: models.SessionPending, age: minutes(60), agentID: "a", watching: minutes(60),
			agent: &models.Agent{ID: "a", Status: models.AgentOnline, LastHeartbeat: ago(time.Second)}, want: want{step: leave}},
		{name: "pending, agent gone", state: models.SessionPending, age: minutes(11), agentID: "a", watching: minutes(60),
			agent: &models.Agent{ID: "a", LastHeartbeat: ago(minutes(11))},
			want:  want{forceEnd, models.SessionFailed, models.CodeAgentUnavailable, "gone for 11m"}},
		{name: "terminating, agent gone", state: models.SessionTerminating, age: minutes(11), agentID: "a", watching: minutes(60),
			agent: &models.Agent{ID: "a", LastHeartbeat: ago(minutes(11))},
			want:  want{forceEnd, models.SessionTerminated, models.CodeAgentUnavailable, "gone for 11m"}},
		{name: "waking, agent gone", state: models.SessionWaking, age: minutes(11), agentID: "a", watching: minutes(60),
			agent: &models.Agent{ID: "a", LastHeartbeat: ago(minutes(11))},
			want:  want{forceEnd, models.SessionFailed, models.CodeAgentUnavailable, "gone"}},
		{name: "an agent never heard of", state: models.SessionPending, age: minutes(11), agentID: "a", watching: minutes(60),
			agent: &models.Agent{ID: "a", CreatedAt: *ago(minutes(30))},
			want:  want{forceEnd, models.SessionFailed, models.CodeAgentUnavailable, "gone"}},
		{name: "the control plane was away itself", state: models.SessionTerminating, age: minutes(600), agentID: "a", watching: time.Minute,
			agent: &models.Agent{ID: "a", LastHeartbeat: ago(minutes(600))}, want: want{step: leave}},
		{name: "no agent", state: models.SessionPending, age: minutes(6),
			want: want{forceEnd, models.SessionFailed, models.CodeAgentUnavailable, "no agent"}},
		{name: "agent deleted", state: models.SessionTerminating, age: minutes(6), agentID: "a",
			want: want{forceEnd, models.SessionTerminated, models.CodeAgentUnavailable, `"a" is no longer registered`}},
		{name: "connected and never done", state: models.SessionTerminating, age: minutes(61), agentID: "a", connected: true,
			agent: &models.Agent{ID: "a"},
			want:  want{forceEnd, models.SessionTerminated, models.CodeCommandTimeout, "did not bring it to an end"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := plan(situation{now: now, connected: c.connected, watching: now.Add(-c.watching), StuckSession: db.StuckSession{
				Session: models.Session{ID: "s", State: c.state, AgentID: c.agentID, StateSince: now.Add(-c.age)}, Agent: c.agent}},
				defaultLimits())
			if got.step != c.want.step || got.to != c.want.to || got.code != c.want.code || !strings.Contains(got.reason, c.want.says) {
				t.Errorf("got %+v", got)
			}
			if got.retryable != (got.to == models.SessionFailed) {
				t.Errorf("retryable is %v for %s", got.retryable, got.to)
			}
		})
	}
}

func TestPlanKeepsItsPromises(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	limits := defaultLimits()
	before := func(t *rapid.T, label string) time.Time {
		return now.Add(-time.Duration(rapid.IntRange(0, 7200).Draw(t, label)) * time.Second)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := situation{now: now, watching: before(t, "watching"), StuckSession: db.StuckSession{Session: models.Session{
			State: rapid.SampledFrom(models.SessionStates()).Draw(t, "state"), StateSince: before(t, "since")}}}
		if rapid.Bool().Draw(t, "placed") {
			s.Session.AgentID = "a"
			if rapid.Bool().Draw(t, "registered") {
				s.Agent = &models.Agent{ID: "a", CreatedAt: before(t, "created")}
				if rapid.Bool().Draw(t, "heard") {
					heard := before(t, "heartbeat")
					s.Agent.LastHeartbeat = &heard
				}
				s.connected = rapid.Bool().Draw(t, "connected")
			}
		}
		got := plan(s, limits)
		age := now.Sub(s.Session.StateSince)
		if got.step != leave && age <= 5*time.Minute {
			t.Fatalf("%+v after %s only", got, age)
		}
		if got.step == reissue && !s.connected {
			t.Fatalf("a command for an agent that is not connected")
		}
		if got.step == forceEnd {
			if !s.Session.State.CanBecome(got.to) || !got.to.Terminal() || got.reason == "" || got.code == "" {
				t.Fatalf("a forced end %+v of a %s session", got, s.Session.State)
			}
			if s.Agent != nil && !s.connected && s.Agent.LastHeartbeat != nil && now.Sub(*s.Agent.LastHeartbeat) <= 10*time.Minute {
				t.Fatal("an agent heard of within 10 minutes is taken for gone")
			}
		}
		// Whatever is too old for every patience is not left alone for ever.
		if _, passing := limits.stuck[s.Session.State]; passing && age > time.Hour && now.Sub(s.watching) > time.Hour &&
			(s.Agent == nil || s.connected) && got.step != forceEnd {
			t.Fatalf("%+v though it is stuck for %s", got, age)
		}
	})
}
