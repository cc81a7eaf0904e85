package wire

import (
	"github.com/streamspace/streamspace/models"
)

// Register is the body of POST /api/v1/agents/register.
type Register struct {
	AgentID     string `json:"agentId"`
	Platform    string `json:"platform"`
	Region      string `json:"region,omitempty"`
	ClusterID   string `json:"clusterId,omitempty"`
	ClusterName string `json:"clusterName,omitempty"`
	// HomeStore names the storage that the agent's persistent homes are on;
	// agents with the same one share them.
	HomeStore string `json:"homeStore,omitempty"`
	// Labels are what selectors of sessions choose by.
	Labels   map[string]string `json:"labels,omitempty"`
	Capacity map[string]any    `json:"capacity,omitempty"`
	Metadata map[string]any    `json:"metadata,omitempty"`
}

// Command asks the agent to do something. The same CommandID may come again:
// it is then the same command, and its effect must not happen twice.
type Command struct {
	CommandID string                 `json:"commandId"`
	Action    string                 `json:"action"`
	Payload   *models.CommandPayload `json:"payload,omitempty"`
}

// StartPayload is the payload of models.ActionStartSession and
// models.ActionWakeSession.
type StartPayload struct {
	SessionID      string          `json:"sessionId"`
	Generation     int64           `json:"generation,omitempty"`
	User           string          `json:"user"`
	Template       string          `json:"template"`
	CPU            string          `json:"cpu"`
	Memory         string          `json:"memory"`
	PersistentHome bool            `json:"persistentHome"`
	Manifest       models.Template `json:"templateManifest"`
}

// SessionPayload is the payload of every other action.
type SessionPayload struct {
	SessionID  string `json:"sessionId"`
	Generation int64  `json:"generation,omitempty"`
}

// Shutdown tells the agent that this connection is about to end. Its sessions
// keep running.
type Shutdown struct {
	Reason string `json:"reason"`
}

// Welcome is the first frame of a negotiated connection.
type Welcome struct {
	Protocol         int   `json:"protocol"`
	Epoch            int64 `json:"epoch"`
	HeartbeatSeconds int   `json:"heartbeatSeconds"`
	// PingSeconds is how often the control plane sends pings; 0 is unknown.
	PingSeconds int `json:"pingSeconds,omitempty"`
	// Needs lists every command that some template needs; the agent answers
	// with Facilities.
	Needs []string `json:"needs"`
}

// Facilities says which of the welcome's needs this machine has.
type Facilities struct {
	Present []string `json:"present"`
}

// Images says which container images the machine holds, all of them, as
// models.ImageName has their names.
type Images struct {
	Names []string `json:"names"`
}

// OpenTunnel asks the agent to dial TunnelPath with this TunnelID and to
// connect it with the session's stream.
type OpenTunnel struct {
	TunnelID   string `json:"tunnelId"`
	SessionID  string `json:"sessionId"`
	Generation int64  `json:"generation"`
}

// TunnelFailed says that a tunnel will not come.
type TunnelFailed struct {
	TunnelID string `json:"tunnelId"`
	Error    string `json:"error"`
}

// Heartbeat says that the agent lives. Status is "online" or "draining";
// a heartbeat never turns a draining agent online: a person does.
type Heartbeat struct {
	Status         string         `json:"status"`
	ActiveSessions int            `json:"activeSessions"`
	Capacity       map[string]any `json:"capacity,omitempty"`
}

// Ack says that the agent has the command.
type Ack struct {
	CommandID string `json:"commandId"`
}

// Complete says that the command's effect has happened. A "state" in the
// result moves the session.
type Complete struct {
	CommandID string                 `json:"commandId"`
	Result    *models.CommandPayload `json:"result,omitempty"`
}

// Failed says that the command's effect did not happen and will not.
type Failed struct {
	CommandID string `json:"commandId"`
	Error     string `json:"error"`
	// Code is a stable code of the error, from agents that know it.
	Code      models.ErrorCode `json:"code,omitempty"`
	Retryable bool             `json:"retryable,omitempty"`
	// Lingers tells that something of a start that failed may run all the same,
	// so that the session must not be started elsewhere.
	Lingers bool `json:"lingers,omitempty"`
}

// Status says what the agent observes of one session, unasked.
type Status struct {
	SessionID  string `json:"sessionId"`
	Generation int64  `json:"generation,omitempty"`
	// State is a models.SessionState; agents of the basic protocol may also
	// say "stopped" for terminated.
	State            string           `json:"state"`
	VNCReady         bool             `json:"vncReady,omitempty"`
	VNCPort          int              `json:"vncPort,omitempty"`
	PlatformMetadata map[string]any   `json:"platformMetadata,omitempty"`
	Reason           string           `json:"reason,omitempty"`
	ReasonCode       models.ErrorCode `json:"reasonCode,omitempty"`
	// Progress is how far a start is, with the state pending or waking and a
	// Generation. It is for people and decides nothing.
	Progress *models.Progress `json:"progress,omitempty"`
}

// Inventory is every session that the agent runs, whole.
type Inventory struct {
	Items []InventoryItem `json:"items"`
}

// InventoryItem is one running session. Generation is that of its start; State
// is running, or pending while the start is under way.
type InventoryItem struct {
	SessionID  string `json:"sessionId"`
	Generation int64  `json:"generation"`
	State      string `json:"state"`
}

// The verdicts on an inventory's items.
const (
	VerdictKeep = "keep"
	// VerdictAdopt is keep for a runtime that the control plane now takes for
	// started, whether or not the command's answer came.
	VerdictAdopt = "adopt"
	VerdictStop  = "stop"
)

// Verdict answers an Inventory. Items without a verdict are kept.
type Verdict struct {
	Items []VerdictItem `json:"items"`
	// Needs are the welcome's, as they are now; absent if nothing needs anything,
	// and then those that were told last remain.
	Needs []string `json:"needs,omitempty"`
}

// VerdictItem says what to do with one runtime.
type VerdictItem struct {
	SessionID  string `json:"sessionId"`
	Generation int64  `json:"generation"`
	Verdict    string `json:"verdict"`
}

// ErrorFrame tells the agent that a frame of its was refused.
type ErrorFrame struct {
	Code    models.ErrorCode `json:"code"`
	Message string           `json:"message"`
}
