package models

import (
	"fmt"
	"time"
)

// Contact is what is known of the way to an agent.
type Contact struct {
	Connected     bool
	LastHeartbeat *time.Time
}

// Unreachable says that the agent of a session cannot be asked now, so that what
// is said of the session may be old. It is an observation and no state: what runs
// there keeps running.
type Unreachable struct {
	// Since is when the agent was last heard of.
	Since  *time.Time `json:"since,omitempty" doc:"when its agent was last heard of; absent if that is not known"`
	Reason string     `json:"reason" doc:"why, in plain words"`
}

// UnreachableBy tells whether the session's agent is away: not connected to any
// replica, without a heartbeat for longer than within, or without a row, which is
// what a nil contact says. What neither runs nor is about to is reachable.
func (s Session) UnreachableBy(contact *Contact, within time.Duration, now time.Time) *Unreachable {
	switch {
	case s.AgentID == "" || !s.State.Live():
		return nil
	case contact == nil:
		return &Unreachable{Reason: fmt.Sprintf("agent %q is no longer registered", s.AgentID)}
	case !contact.Connected:
		return &Unreachable{Since: contact.LastHeartbeat, Reason: fmt.Sprintf("agent %q is not connected", s.AgentID)}
	case contact.LastHeartbeat == nil || now.Sub(*contact.LastHeartbeat) > within:
		return &Unreachable{Since: contact.LastHeartbeat, Reason: fmt.Sprintf("agent %q has sent no heartbeat for more than %s", s.AgentID, FormatDuration(within))}
	}
	return nil
}
