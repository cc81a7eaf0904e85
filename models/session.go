package models

import (
	"encoding/json"
	"time"
)

// SessionState is where a session is observed to be.
type SessionState string

// The states of a session. Terminated and failed are terminal: nothing leaves
// them.
const (
	SessionPending     SessionState = "pending"
	SessionRunning     SessionState = "running"
	SessionHibernating SessionState = "hibernating"
	SessionHibernated  SessionState = "hibernated"
	SessionWaking      SessionState = "waking"
	SessionTerminating SessionState = "terminating"
	SessionTerminated  SessionState = "terminated"
	SessionFailed      SessionState = "failed"
)

// sessionTransitions is the only copy of the session state machine; the CHECK
// constraints of both databases are tested against it. Running may end without
// passing terminating when the runtime ended by itself, and sleep without passing
// hibernating when its agent kept a time limit alone. It is pending again when it is lost and
// its template says so. Pending may end so when no agent ever had the session,
// and hibernated because nothing of it runs.
var sessionTransitions = map[SessionState][]SessionState{
	SessionPending:     {SessionRunning, SessionTerminating, SessionTerminated, SessionFailed},
	SessionRunning:     {SessionPending, SessionHibernating, SessionHibernated, SessionTerminating, SessionTerminated, SessionFailed},
	SessionHibernating: {SessionHibernated, SessionTerminating, SessionFailed},
	SessionHibernated:  {SessionWaking, SessionTerminating, SessionTerminated, SessionFailed},
	SessionWaking:      {SessionRunning, SessionTerminating, SessionFailed},
	SessionTerminating: {SessionTerminated, SessionFailed},
	SessionTerminated:  {},
	SessionFailed:      {},
}

// SessionStates lists every state, in the order of a session's life.
func SessionStates() []SessionState {
	return []SessionState{
		SessionPending, SessionRunning, SessionHibernating, SessionHibernated,
		SessionWaking, SessionTerminating, SessionTerminated, SessionFailed,
	}
}

// CanBecome reports whether a session may move from s to next. A state never
// becomes itself.
func (s SessionState) CanBecome(next SessionState) bool {
	for _, legal := range sessionTransitions[s] {
		if legal == next {
			return true
		}
	}
	return false
}

// Predecessors lists the states from which s can be reached in one step. The
// guarded writes of db put it into their WHERE clause.
func (s SessionState) Predecessors() []SessionState {
	var from []SessionState
	for _, state := range SessionStates() {
		if state.CanBecome(s) {
			from = append(from, state)
		}
	}
	return from
}

// Terminal reports whether nothing can follow s.
func (s SessionState) Terminal() bool {
	return s == SessionTerminated || s == SessionFailed
}

// Live reports whether s holds capacity on its agent: every state that is
// neither terminal nor hibernated.
func (s SessionState) Live() bool {
	return !s.Terminal() && s != SessionHibernated
}

// DesiredState is where a session's owner wants it to be.
type DesiredState string

// The desired states. A session is born wanting to run.
const (
	DesiredRunning    DesiredState = "running"
	DesiredHibernated DesiredState = "hibernated"
	DesiredTerminated DesiredState = "terminated"
)

// Session is one desktop, browser or terminal, from request to end.
type Session struct {
	ID           string       `json:"id"`
	Name         string       `json:"name" doc:"shown to people; defaults to the template's display name"`
	User         string       `json:"user" doc:"name of the owner"`
	Template     string       `json:"template"`
	Protocol     Protocol     `json:"protocol" doc:"what the session's stream speaks"`
	State        SessionState `json:"state"`
	DesiredState DesiredState `json:"desiredState"`
	// Generation is the version of the desired state: 1 at launch, one more
	// with each stop, hibernate or wake, when an agent could not start the session
	// and another one is to, and when it is lost and begun again.
	Generation int64 `json:"generation"`
	// Reason says in plain words why the session is where it is; ReasonCode is
	// the stable code of the same. Both are empty while all goes as asked.
	Reason     string    `json:"reason,omitempty"`
	ReasonCode ErrorCode `json:"reasonCode,omitempty"`
	// Retryable tells whether launching the same again may succeed. It means
	// something only in state failed.
	Retryable bool      `json:"retryable"`
	AgentID   string    `json:"agentId,omitempty"`
	ClusterID string    `json:"clusterId,omitempty"`
	Platform  string    `json:"platform,omitempty"`
	Region    string    `json:"region,omitempty"`
	Resources Resources `json:"resources"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	// StateSince is when State last changed; stuck sessions are found by it.
	StateSince time.Time `json:"stateSince"`

	TimeLimits
	// ExpiresAt is when a running session will have run for MaxDuration, IdleAt
	// when it will have been unused for IdleTimeout if nobody uses it until then.
	ExpiresAt *time.Time `json:"expiresAt,omitempty" doc:"when it reaches maxDuration"`
	IdleAt    *time.Time `json:"idleAt,omitempty" doc:"when it reaches idleTimeout, unless it is used before"`

	// Priority comes before age among sessions that wait for an agent; 0 is
	// usual, higher comes first.
	Priority int64 `json:"priority,omitempty"`
	// WaitUntil is when a session that waits for an agent gives up.
	WaitUntil *time.Time `json:"waitUntil,omitempty"`
	// Queue is the place of a session that waits for an agent. It is not kept
	// with the session, but found out when somebody asks.
	Queue *QueuePlace `json:"queue,omitempty"`
	// Progress is how far its start is, while it is pending or waking and its agent
	// tells.
	Progress *Progress `json:"progress,omitempty" doc:"how far its start is, as its agent tells"`
	// MoveUntil is until when a session that a drain has hibernated is to be woken
	// on another agent that has its home.
	MoveUntil *time.Time `json:"moveUntil,omitempty" doc:"until when a session that a drain has hibernated is to be woken on another agent that has its home"`
	// Attempts counts the agents that the session was placed on.
	Attempts int64 `json:"attempts,omitempty" doc:"agents that the session was placed on so far"`

	// Failures are the agents on which it has failed to start, in that order.
	Failures []StartFailure `json:"failures,omitempty" doc:"agents on which it has failed to start, in that order"`

	// Losses are the times that its agent no longer had it and it was begun again,
	// those of LossWindow before the last one.
	Losses []Loss `json:"losses,omitempty" doc:"times that its agent no longer had it and it was begun again, as far as they are remembered"`

	// Unreachable is set while its agent is away. It is not kept with the session,
	// but found out when somebody asks.
	Unreachable *Unreachable `json:"unreachable,omitempty" doc:"set while its agent is away; what runs there keeps running"`

	// Placement is what was asked of its agent, for placing it later or again.
	Placement json.RawMessage `json:"-"`
	// UserID owns the session; User is that user's name.
	UserID string `json:"-"`
	// Spec is the template as it was resolved at launch. Later edits of the
	// template do not reach it.
	Spec Template `json:"-"`
	// RequestHash identifies the launch request, so that a repeated POST with
	// the same id can be told from another request that claims it.
	RequestHash string `json:"-"`
}

// QueuePlace is a place in the queue of sessions that wait for an agent.
type QueuePlace struct {
	// Place is 1 for the next one.
	Place int `json:"place"`
	Of    int `json:"of"`
}

// Waiting tells whether the session waits for an agent.
func (s Session) Waiting() bool {
	return s.State == SessionPending && s.AgentID == "" && s.WaitUntil != nil
}

// Resources is what a session may use, in Kubernetes quantity syntax.
type Resources struct {
	CPU    string `json:"cpu,omitempty" yaml:"cpu" doc:"cores, e.g. 500m or 2"`
	Memory string `json:"memory,omitempty" yaml:"memory" doc:"bytes, e.g. 512Mi or 2Gi"`
	GPUs   int64  `json:"gpus,omitempty" yaml:"gpus" minimum:"0" doc:"whole GPUs"`
}
