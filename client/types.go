package client

import (
	"time"

	"github.com/streamspace/streamspace/models"
)

// What the API answers with, as the control plane itself has it.
type (
	// Session is a session.
	Session = models.Session
	// Resources are what a session may use.
	Resources = models.Resources
	// Event is a line of history.
	Event = models.Event
	// Agent is an agent.
	Agent = models.Agent
	// Command is what an agent was told.
	Command = models.AgentCommand
	// ReconcilerStatus says who reconciles sessions and what is stuck.
	ReconcilerStatus = models.ReconcilerStatus
)

// Page asks for a part of a list. The zero value is the first part, of the
// server's own size.
type Page struct {
	Cursor string
	// Limit is at most 500.
	Limit int
}

// List is a part of a list. NextCursor is empty at the end.
type List[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"nextCursor"`
}

// LaunchRequest is what to launch. Only Template is required.
type LaunchRequest struct {
	// ID makes the launch safe to repeat: lower case letters, digits and
	// dashes, at most 63.
	ID        string `json:"id,omitempty"`
	Template  string `json:"template"`
	Name      string `json:"name,omitempty"`
	Region    string `json:"region,omitempty"`
	ClusterID string `json:"clusterId,omitempty"`
	Platform  string `json:"platform,omitempty"`
	// Labels is a selector as Kubernetes writes it, e.g. disk=ssd,!spot.
	Labels            string   `json:"labels,omitempty"`
	PreferredRegions  []string `json:"preferredRegions,omitempty"`
	PreferredClusters []string `json:"preferredClusters,omitempty"`
	// Strategy is least-loaded or bin-pack, SpreadOver region or cluster.
	Strategy   string     `json:"strategy,omitempty"`
	SpreadOver string     `json:"spreadOver,omitempty"`
	Resources  *Resources `json:"resources,omitempty"`
	// Priority comes before age among sessions that wait for an agent: -100 to
	// 100, higher first.
	Priority int64 `json:"priority,omitempty"`
	// WaitSeconds is how long to wait for an agent; nil is the server's default,
	// and 0 not at all.
	WaitSeconds *int64 `json:"waitSeconds,omitempty"`
	// IdleTimeout and MaxDuration end the session after so long unused, or after
	// running so long, e.g. 30m. They can only shorten the template's.
	IdleTimeout string `json:"idleTimeout,omitempty"`
	MaxDuration string `json:"maxDuration,omitempty"`
}

// WakeRequest says where a hibernated session may wake.
type WakeRequest struct {
	// Elsewhere allows another agent when none that has the session's home can
	// take it. The session then begins without that home.
	Elsewhere bool `json:"elsewhere,omitempty"`
}

// DrainRequest says how an agent is drained.
type DrainRequest struct {
	// DeadlineSeconds is after how many seconds from now what is left is stopped,
	// or hibernated and moved if it keeps a home: 0 to 30 days. Nil is never.
	DeadlineSeconds *int64 `json:"deadlineSeconds,omitempty"`
}

// Removed is an agent that was removed.
type Removed struct {
	AgentID string `json:"agentId"`
	// Sessions are those that were on it, as they are now.
	Sessions []Session `json:"sessions"`
}

// Explanation says why a session is where it is, waits or was refused, or what
// would become of a launch.
type Explanation struct {
	SessionID string `json:"sessionId"`
	// Outcome is placed, waiting or refused.
	Outcome string `json:"outcome"`
	AgentID string `json:"agentId"`
	// Agents are those that can take the session, best first, then the others.
	Agents []Verdict `json:"agents"`
	// Left counts agents that are not told of.
	Left int       `json:"left"`
	At   time.Time `json:"at"`
}

// Verdict is what was made of one agent: a score, or why it cannot take the
// session.
type Verdict struct {
	AgentID    string             `json:"agentId"`
	Score      *Score             `json:"score,omitempty"`
	Rejections []models.Rejection `json:"rejections,omitempty"`
}

// Score is how good an agent is; its parts are weighted.
type Score struct {
	Total float64            `json:"total"`
	Parts map[string]float64 `json:"parts"`
}

// SessionFilter restricts a list of sessions.
type SessionFilter struct {
	States []models.SessionState
	Page
}

// CommandFilter restricts a list of commands.
type CommandFilter struct {
	AgentID, SessionID, Status string
	Page
}

// Ticket opens one stream once.
type Ticket struct {
	Ticket    string    `json:"ticket"`
	ExpiresAt time.Time `json:"expiresAt"`
	// URL is where a browser opens a session of protocol http with the ticket.
	URL string `json:"url"`
}

// AgentKey is a new key of an agent.
type AgentKey struct {
	AgentID string `json:"agentId"`
	Key     string `json:"key"`
}

// LoginLink signs a browser in, once.
type LoginLink struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// Me is the user that the client calls as.
type Me struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role"`
}

// Template is a template as the API shows it.
type Template struct {
	Name        string          `json:"name"`
	DisplayName string          `json:"displayName"`
	Description string          `json:"description,omitempty"`
	Icon        string          `json:"icon,omitempty"`
	Protocol    models.Protocol `json:"protocol"`
	Platforms   []string        `json:"platforms"`
	Resources   Resources       `json:"resources"`
	models.TimeLimits
	// Source is where it comes from; AppliedBy is empty unless it was applied.
	Source    models.TemplateSource `json:"source"`
	AppliedBy string                `json:"appliedBy,omitempty"`
	UpdatedAt time.Time             `json:"updatedAt"`
	// Available tells whether some online agent can run it now.
	Available bool `json:"available"`
	// Reason says why it is not available.
	Reason string `json:"reason,omitempty"`
	// Missing is what to install where, for it to be available.
	Missing []models.Need `json:"missing,omitempty"`
}

// DeletedTemplate is a template that was deleted. Uncovered is the source of
// the template that its name means now; empty if there is none.
type DeletedTemplate struct {
	Name      string                `json:"name"`
	Uncovered models.TemplateSource `json:"uncovered,omitempty"`
}

// Change is one message of Watch. Exactly one field is set.
type Change struct {
	// Snapshot is every session of the user that has not ended, and replaces
	// all that was known before. It comes first and after each reconnect.
	Snapshot []Session
	// Session is one session as it is now.
	Session *Session
}
