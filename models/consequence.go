package models

// Outcome is how a command ended.
type Outcome struct {
	Action     string
	Generation int64 // of the command; 0 is unknown and passes as the session's own
	Completed  bool
	// State is what a completed command's result named, if anything.
	State SessionState
	// Reason, Code and Retryable tell of a failure.
	Reason    string
	Code      ErrorCode
	Retryable bool
	// Said tells that the agent itself says so, who then knows that nothing runs
	// there.
	Said bool
}

// Consequence is what becomes of a session.
type Consequence struct {
	State     SessionState
	Reason    string
	Code      ErrorCode
	Retryable bool
	// Elsewhere tells that the session is to be placed on another agent.
	Elsewhere bool
}

// completedStates is where a session is once the action has happened.
var completedStates = map[string]SessionState{
	ActionStartSession:     SessionRunning,
	ActionStopSession:      SessionTerminated,
	ActionHibernateSession: SessionHibernated,
	ActionWakeSession:      SessionRunning,
}

// Consequence says what the outcome of one of its commands makes of a session,
// and whether anything at all. It never asks for an illegal transition. An
// outcome of an older generation changes nothing: a start that completes after
// a stop was asked for leaves the session terminating. A failed stop leaves the
// state and gives the reason, and reconciliation tries again. A session that its
// agent could not start stays pending as long as other agents may be tried. One
// that is seen to run does so although nobody heard that its start succeeded.
func (o Outcome) Consequence(session Session) (Consequence, bool) {
	if session.State.Terminal() || (o.Generation != 0 && o.Generation < session.Generation) {
		return Consequence{}, false
	}
	if !o.Completed {
		if Begins(o.Action) && !o.Said && session.State == SessionRunning {
			return Consequence{}, false
		}
		failed := Consequence{State: session.State, Reason: o.Reason, Code: o.Code, Retryable: o.Retryable}
		if Begins(o.Action) {
			failed.State = SessionFailed
		}
		if o.elsewhere(session) {
			failed.State, failed.Elsewhere = SessionPending, true
		}
		return failed, true
	}
	for _, next := range []SessionState{o.State, completedStates[o.Action]} {
		switch {
		case !session.State.CanBecome(next):
		case Ends(o.Action) && session.ReasonCode.IsTimeLimit(), next == SessionHibernated && session.ReasonCode == "":
			// Why it was asked to, and nothing that failed.
			return Consequence{State: next, Reason: session.Reason, Code: session.ReasonCode}, true
		default:
			return Consequence{State: next}, true
		}
	}
	return Consequence{}, false
}

// elsewhere tells whether another agent may be tried after a start that has
// failed.
func (o Outcome) elsewhere(session Session) bool {
	return o.Action == ActionStartSession && o.Said && session.State == SessionPending && session.DesiredState == DesiredRunning &&
		len(session.Failures)+1 < MaxPlacements && !o.Code.Permanent() && !session.staysPut()
}
