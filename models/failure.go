package models

import (
	"fmt"
	"time"
)

const (
	// MaxPlacements is on how many agents a session is tried at most.
	MaxPlacements = 4
	// TryElsewhereFor is how long a session that has failed to start looks for
	// another agent.
	TryElsewhereFor = 2 * time.Minute
)

// Permanent tells that a start which failed with this code fails everywhere and
// always, since what was asked for is wrong. What an agent's machine lacks
// another one may have, so CodeNeedsMissing is not among them.
func (c ErrorCode) Permanent() bool {
	switch c {
	case CodeInvalidRequest, CodeTemplateInvalid, CodeImageMissing, CodeImageDenied:
		return true
	}
	return false
}

// StartFailure is an agent on which the session has failed to start.
type StartFailure struct {
	AgentID   string    `json:"agentId"`
	Reason    string    `json:"reason" doc:"what the agent said"`
	Code      ErrorCode `json:"code,omitempty"`
	Retryable bool      `json:"retryable,omitempty"`
	At        time.Time `json:"at"`
}

// FailedAgents lists the agents on which the session has failed to start.
func (s Session) FailedAgents() []string {
	agents := make([]string, 0, len(s.Failures))
	for _, failure := range s.Failures {
		agents = append(agents, failure.AgentID)
	}
	return agents
}

// FailedLast tells whether an agent could not start the session since it was
// begun again last, if it was.
func (s Session) FailedLast() bool {
	if len(s.Failures) == 0 {
		return false
	}
	return len(s.Losses) == 0 || s.Failures[len(s.Failures)-1].At.After(s.Losses[len(s.Losses)-1].At)
}

// FailedStarts says in words why the session has failed to start, wherever it
// was tried: empty when it has not.
func (s Session) FailedStarts() string {
	if len(s.Failures) == 0 {
		return ""
	}
	last := s.Failures[len(s.Failures)-1]
	if len(s.Failures) == 1 {
		return last.Reason
	}
	return fmt.Sprintf("it has failed on %d agents, last on %q: %s", len(s.Failures), last.AgentID, last.Reason)
}
