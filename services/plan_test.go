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

// A pass a second finds out when the agent of a stuck session is asked again.
func TestAStuckSessionsAgentIsAskedEverMoreRarely(t *testing.T) {
	begun, limits := time.Unix(1_700_000_000, 0), defaultLimits()
	limits.giveUp = 3 * time.Hour
	firsts := map[time.Duration]bool{}
	for _, id := range []string{"a", "b", "c", "d"} {
		s := situation{connected: true, watching: begun, StuckSession: db.StuckSession{Tries: 1, Agent: &models.Agent{ID: "a"},
			Session: models.Session{ID: id, State: models.SessionPending, AgentID: "a", StateSince: begun}}}
		var asked []time.Duration
		for s.now = begun; len(asked) < 9; s.now = s.now.Add(time.Second) {
			if plan(s, limits).step == reissue {
				asked = append(asked, s.now.Sub(begun))
				s.Tries++
			}
		}
		if first := asked[0]; first != 5*time.Minute+time.Second {
			t.Errorf("%s is asked for after %s first", id, first)
		}
		for i, want := range []time.Duration{1, 2, 4, 8, 15, 15, 15, 15} {
			if gap := asked[i+1] - asked[i]; gap < want*time.Minute-time.Second || gap > want*time.Minute*5/4+time.Second {
				t.Errorf("%s is asked for the %d. time %s after the last", id, i+2, gap)
			}
		}
		firsts[asked[1]] = true
	}
	if len(firsts) < 3 {
		t.Error("sessions that got stuck at once are asked for at once")
	}
}

func TestPlanMissing(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UTC()
	home, roaming := models.TemplateSpec{PersistentHome: true}, models.TemplateSpec{OnLost: models.OnLostRecreate}
	lost := func(agos ...time.Duration) (all []models.Loss) {
		for _, ago := range agos {
			all = append(all, models.Loss{AgentID: "a", Remedy: models.OnLostRestart, At: now.Add(-ago)})
		}
		return all
	}
	for _, c := range []struct {
		name    string
		session models.Session
		spec    models.TemplateSpec
		want    step
		losses  int
		says    string
	}{
		{name: "no policy, no home", want: forceEnd, says: "Launch it again"},
		{name: "it has only just started", session: models.Session{StateSince: now.Add(-9 * time.Second)}, spec: home, want: leave},
		{name: "it keeps its home", spec: home, want: restart, losses: 1, says: "for the first time of at most 3 within 10m"},
		{name: "to fail, home or not", spec: models.TemplateSpec{PersistentHome: true, OnLost: models.OnLostFail}, want: forceEnd, says: "Launch it again"},
		{name: "to be placed anew", spec: roaming, want: recreate, losses: 1, says: "it is placed anew"},
		{name: "to be restarted without a home", spec: models.TemplateSpec{OnLost: models.OnLostRestart}, want: restart, losses: 1, says: "started again there"},
		{name: "again at once", session: models.Session{Losses: lost(29 * time.Second)}, spec: home, want: leave},
		{name: "again", session: models.Session{Losses: lost(30 * time.Second)}, spec: home, want: restart, losses: 2, says: "second"},
		{name: "a third time at once", session: models.Session{Losses: lost(5*time.Minute, 59*time.Second)}, spec: home, want: leave},
		{name: "a third time", session: models.Session{Losses: lost(5*time.Minute, time.Minute)}, spec: home, want: restart, losses: 3, says: "third"},
		{name: "too often", session: models.Session{Losses: lost(9*time.Minute, 5*time.Minute, time.Second)}, spec: home, want: forceEnd, says: "3 times within 10m, which is enough"},
		{name: "often, long ago", session: models.Session{Losses: lost(time.Hour, 11*time.Minute, 10*time.Minute)}, spec: home, want: restart, losses: 1, says: "first"},
		{name: "it was to end", session: models.Session{State: models.SessionTerminating}, spec: home, want: forceEnd},
	} {
		t.Run(c.name, func(t *testing.T) {
			session := c.session
			session.AgentID, session.Spec.Spec = "a", c.spec
			if session.State == "" {
				session.State = models.SessionRunning
			}
			if session.StateSince.IsZero() {
				session.StateSince = now.Add(-10 * time.Second)
			}
			got := planMissing(session, absence(10*time.Second), now)
			if got.step != c.want || len(got.losses) != c.losses || !strings.Contains(got.reason, c.says) {
				t.Errorf("got %+v", got)
			}
			if got.step == forceEnd && (got.to == models.SessionTerminated) != (session.State == models.SessionTerminating) {
				t.Errorf("it ends as %s", got.to)
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
