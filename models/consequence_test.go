package models_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/models"
)

func TestConsequence(t *testing.T) {
	why := models.Consequence{Reason: "no Xvnc", Code: models.CodeNeedsMissing, Retryable: true}
	failed := func(action string, generation int64) models.Outcome {
		return models.Outcome{Action: action, Generation: generation, Reason: why.Reason, Code: why.Code, Retryable: why.Retryable}
	}
	completed := func(action string, generation int64, named models.SessionState) models.Outcome {
		return models.Outcome{Action: action, Generation: generation, Completed: true, State: named}
	}
	withReason := func(state models.SessionState) *models.Consequence {
		expected := why
		expected.State = state
		return &expected
	}
	to := func(state models.SessionState) *models.Consequence { return &models.Consequence{State: state} }

	for _, test := range []struct {
		name       string
		outcome    models.Outcome
		state      models.SessionState
		generation int64
		want       *models.Consequence // nil: nothing changes
	}{
		{"a started session runs", completed(models.ActionStartSession, 1, ""), models.SessionPending, 1, to(models.SessionRunning)},
		{"a generation unknown counts as current", completed(models.ActionStartSession, 0, ""), models.SessionPending, 3, to(models.SessionRunning)},
		{"a result may name the state", completed(models.ActionStartSession, 1, models.SessionTerminated), models.SessionPending, 1, to(models.SessionTerminated)},
		{"an illegal named state gives way to the action's", completed(models.ActionStartSession, 1, models.SessionHibernated), models.SessionPending, 1, to(models.SessionRunning)},
		{"an unknown named state gives way to the action's", completed(models.ActionStopSession, 2, "gone"), models.SessionTerminating, 2, to(models.SessionTerminated)},
		{"a running session does not start again", completed(models.ActionStartSession, 1, ""), models.SessionRunning, 1, nil},
		{"a start that failed fails the session", failed(models.ActionStartSession, 1), models.SessionPending, 1, withReason(models.SessionFailed)},
		{"a start's deadline says nothing of a session that runs", failed(models.ActionStartSession, 1), models.SessionRunning, 1, nil},
		{"a start completing after the stop was asked changes nothing", completed(models.ActionStartSession, 1, ""), models.SessionTerminating, 2, nil},
		{"a start failing after the stop was asked changes nothing", failed(models.ActionStartSession, 1), models.SessionTerminating, 2, nil},
		{"a stopped session is terminated", completed(models.ActionStopSession, 2, ""), models.SessionTerminating, 2, to(models.SessionTerminated)},
		{"a stop that failed leaves a reason", failed(models.ActionStopSession, 2), models.SessionTerminating, 2, withReason(models.SessionTerminating)},
		{"a hibernated session sleeps", completed(models.ActionHibernateSession, 2, ""), models.SessionHibernating, 2, to(models.SessionHibernated)},
		{"a hibernation that failed leaves a reason", failed(models.ActionHibernateSession, 2), models.SessionHibernating, 2, withReason(models.SessionHibernating)},
		{"a woken session runs", completed(models.ActionWakeSession, 3, ""), models.SessionWaking, 3, to(models.SessionRunning)},
		{"a wake that failed fails the session", failed(models.ActionWakeSession, 3), models.SessionWaking, 3, withReason(models.SessionFailed)},
		{"a terminated session stays", completed(models.ActionStartSession, 2, models.SessionRunning), models.SessionTerminated, 2, nil},
		{"a failed session stays", failed(models.ActionStopSession, 2), models.SessionFailed, 2, nil},
		{"an unknown action moves nothing", completed("dance_session", 1, ""), models.SessionRunning, 1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, changes := test.outcome.Consequence(models.Session{State: test.state, Generation: test.generation})
			switch {
			case test.want == nil && changes:
				t.Errorf("became %+v", got)
			case test.want != nil && (!changes || got != *test.want):
				t.Errorf("became %+v (%v), want %+v", got, changes, *test.want)
			}
		})
	}
}

// What a time limit ended says so when it has ended.
func TestATimeLimitStaysTheReason(t *testing.T) {
	for action, state := range map[string]models.SessionState{
		models.ActionStopSession: models.SessionTerminating, models.ActionHibernateSession: models.SessionHibernating, models.ActionWakeSession: models.SessionWaking,
	} {
		session := models.Session{State: state, Generation: 2, Reason: "nobody used it", ReasonCode: models.CodeIdleTimeout}
		got, _ := models.Outcome{Action: action, Generation: 2, Completed: true}.Consequence(session)
		if want := models.Ends(action); (got.Reason == session.Reason && got.Code == session.ReasonCode) != want {
			t.Errorf("after %s it is %+v", action, got)
		}
	}
}

func TestWhereAFailedStartLeadsTo(t *testing.T) {
	lost := func(remedy models.OnLost) []models.Loss {
		return []models.Loss{{Remedy: models.OnLostRecreate}, {Remedy: remedy}}
	}
	for _, test := range []struct {
		name      string
		code      models.ErrorCode
		session   models.Session
		elsewhere bool
	}{
		{"another machine may have what is missing", models.CodeNeedsMissing, models.Session{}, true},
		{"one that gives no code may be wrong", models.CodeCommandFailed, models.Session{}, true},
		{"what is wrong is wrong everywhere", models.CodeInvalidRequest, models.Session{}, false},
		{"so is a template", models.CodeTemplateInvalid, models.Session{}, false},
		{"and an image", models.CodeImageMissing, models.Session{}, false},
		{"and one that may not be pulled", models.CodeImageDenied, models.Session{}, false},
		{"what was tried often enough", models.CodeUnavailable, models.Session{Failures: make([]models.StartFailure, 3)}, false},
		{"what was started again stays where it was", models.CodeUnavailable, models.Session{Losses: lost(models.OnLostRestart)}, false},
		{"what was placed anew is placed once more", models.CodeUnavailable, models.Session{Losses: lost(models.OnLostRecreate)}, true},
	} {
		test.session.State, test.session.DesiredState = models.SessionPending, models.DesiredRunning
		outcome := models.Outcome{Action: models.ActionStartSession, Code: test.code, Said: true}
		if got, _ := outcome.Consequence(test.session); got.Elsewhere != test.elsewhere || (got.State == models.SessionFailed) == test.elsewhere {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

func TestConsequenceIsAlwaysLegal(t *testing.T) {
	named := append(models.SessionStates(), "", "nonsense")
	actions := []string{models.ActionStartSession, models.ActionStopSession, models.ActionHibernateSession, models.ActionWakeSession, "nonsense"}
	rapid.Check(t, func(t *rapid.T) {
		session := models.Session{State: rapid.SampledFrom(models.SessionStates()).Draw(t, "state"),
			Generation: rapid.Int64Range(1, 4).Draw(t, "generation")}
		outcome := models.Outcome{Action: rapid.SampledFrom(actions).Draw(t, "action"),
			Generation: rapid.Int64Range(0, 4).Draw(t, "of"), Completed: rapid.Bool().Draw(t, "completed"),
			State: rapid.SampledFrom(named).Draw(t, "named"), Reason: "why"}
		next, changes := outcome.Consequence(session)
		if !changes {
			if next != (models.Consequence{}) {
				t.Fatalf("nothing changes, yet it says %+v", next)
			}
			return
		}
		if session.State.Terminal() || outcome.Generation != 0 && outcome.Generation < session.Generation {
			t.Fatalf("%+v changed %+v", outcome, session)
		}
		if next.State != session.State && !session.State.CanBecome(next.State) {
			t.Fatalf("%s became %s", session.State, next.State)
		}
		if next.State == session.State && (outcome.Completed || next.Reason == "") {
			t.Fatalf("%+v left %s as it was without a failure's reason: %+v", outcome, session.State, next)
		}
	})
}
