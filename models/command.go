package models

import "time"

// The actions that a command can ask of an agent.
const (
	ActionStartSession     = "start_session"
	ActionStopSession      = "stop_session"
	ActionHibernateSession = "hibernate_session"
	ActionWakeSession      = "wake_session"
)

// Begins tells whether the action makes a runtime.
func Begins(action string) bool { return action == ActionStartSession || action == ActionWakeSession }

// Ends tells whether the action ends every runtime of its session up to its
// generation.
func Ends(action string) bool { return action == ActionStopSession || action == ActionHibernateSession }

// The states of a command. Completed and failed are terminal. Sent means
// unknown: the agent may or may not have received it.
const (
	CommandPending   = "pending"
	CommandSent      = "sent"
	CommandAck       = "ack"
	CommandCompleted = "completed"
	CommandFailed    = "failed"
)

// commandTransitions is the only copy of the command state machine. A command
// may skip states forward, since frames of one batch can be written at once,
// and never goes back.
var commandTransitions = map[string][]string{
	CommandPending:   {CommandSent, CommandAck, CommandCompleted, CommandFailed},
	CommandSent:      {CommandAck, CommandCompleted, CommandFailed},
	CommandAck:       {CommandCompleted, CommandFailed},
	CommandCompleted: {},
	CommandFailed:    {},
}

// CommandStates lists every state, in the order of a command's life.
func CommandStates() []string {
	return []string{CommandPending, CommandSent, CommandAck, CommandCompleted, CommandFailed}
}

// CanCommandBecome reports whether a command may move from one state to
// another.
func CanCommandBecome(from, to string) bool {
	for _, legal := range commandTransitions[from] {
		if legal == to {
			return true
		}
	}
	return false
}

// CommandPredecessors lists the states from which to can be reached in one
// step.
func CommandPredecessors(to string) []string {
	var from []string
	for _, state := range CommandStates() {
		if CanCommandBecome(state, to) {
			from = append(from, state)
		}
	}
	return from
}

// CommandPayload is what an action needs to know, as JSON. A start carries the
// keys that wire.StartPayload names, every other action at least sessionId.
type CommandPayload map[string]interface{}

// AgentCommand is one instruction to one agent. Its row is written before it is
// sent, and CommandID stays the same however often it is sent.
type AgentCommand struct {
	CommandID string `json:"commandId"`
	AgentID   string `json:"agentId"`
	// SessionID is empty only for commands that concern no session. Commands of
	// one session are sent in the order of their creation.
	SessionID string `json:"sessionId,omitempty"`
	// Generation is the session's generation that this command brings about.
	Generation   int64           `json:"generation"`
	Action       string          `json:"action"`
	Payload      *CommandPayload `json:"payload,omitempty"`
	Status       string          `json:"status"`
	Attempts     int             `json:"attempts" doc:"how often it was sent"`
	Result       *CommandPayload `json:"result,omitempty"`
	ErrorMessage string          `json:"error,omitempty"`
	CreatedAt    time.Time       `json:"createdAt"`
	// DeadlineAt is when the command fails if it has not ended by then.
	DeadlineAt     time.Time  `json:"deadlineAt"`
	SentAt         *time.Time `json:"sentAt,omitempty"`
	AcknowledgedAt *time.Time `json:"acknowledgedAt,omitempty"`
	CompletedAt    *time.Time `json:"completedAt,omitempty"`
}
