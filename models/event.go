package models

import (
	"strings"
	"time"
)

// The kinds of event.
const (
	EventSessionState = "session.state"
	EventAgentState   = "agent.state"
)

// Event is one line of history, written in the transaction of the change it
// tells of and never changed afterwards.
type Event struct {
	// ID rises with time and is unique; gaps mean nothing.
	ID        int64  `json:"id"`
	Kind      string `json:"kind"`
	SessionID string `json:"sessionId,omitempty"`
	AgentID   string `json:"agentId,omitempty"`
	// From and To are the states before and after; From is empty at creation.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Actor is who caused it: user:NAME, agent:ID, reconciler, drain,
	// timekeeper or system.
	Actor      string    `json:"actor"`
	Reason     string    `json:"reason,omitempty"`
	ReasonCode ErrorCode `json:"reasonCode,omitempty"`
	Generation int64     `json:"generation,omitempty"`
	At         time.Time `json:"at"`
}

// ActorName is an event's actor in words for people: the name of a user.
func ActorName(actor string) string { return strings.TrimPrefix(actor, "user:") }
