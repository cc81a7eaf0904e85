package models

import "time"

// The platforms that an agent can run sessions on.
const (
	PlatformProcess    = "process"
	PlatformDocker     = "docker"
	PlatformKubernetes = "kubernetes"
)

// The states of an agent.
const (
	// AgentOnline agents take new sessions.
	AgentOnline = "online"
	// AgentOffline agents have no current connection.
	AgentOffline = "offline"
	// AgentDraining agents keep what they run and take nothing new. A heartbeat
	// never ends draining.
	AgentDraining = "draining"
)

// AgentStates lists every state of an agent.
func AgentStates() []string { return []string{AgentOnline, AgentOffline, AgentDraining} }

// Agent is a program that dials out to the control plane and runs sessions
// where it is.
type Agent struct {
	ID          string `json:"id"`
	ClusterID   string `json:"clusterId,omitempty"`
	ClusterName string `json:"clusterName,omitempty"`
	Platform    string `json:"platform"`
	Region      string `json:"region,omitempty"`
	Status      string `json:"status"`
	// Capacity is what the agent says it has, in its own words; known keys are
	// maxSessions (a number), cpu and memory (quantities).
	Capacity map[string]interface{} `json:"capacity,omitempty"`
	// Metadata is whatever the agent said of itself when it registered.
	Metadata map[string]interface{} `json:"metadata,omitempty"`
	// Facilities are the needs of templates that the agent found on its
	// machine. Nil means that the agent never said, as agents that speak only
	// the basic protocol do not; such agents count as having everything.
	Facilities []string `json:"facilities,omitempty"`
	// Epoch numbers the agent's connections; the highest is the current one.
	Epoch         int64      `json:"epoch"`
	LastHeartbeat *time.Time `json:"lastHeartbeat,omitempty"`
	// Sessions is how many live sessions the control plane has placed there.
	Sessions  int       `json:"sessions"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// MaxSessions is the agent's own limit on concurrent sessions, or 0 when it
// named none.
func (a Agent) MaxSessions() int {
	switch limit := a.Capacity["maxSessions"].(type) {
	case float64:
		return max(int(limit), 0)
	case int:
		return max(limit, 0)
	case int64:
		return max(int(limit), 0)
	}
	return 0
}

// Lacks lists those of needs that the agent is known not to have.
func (a Agent) Lacks(needs []string) []string {
	if a.Facilities == nil {
		return nil
	}
	has := make(map[string]bool, len(a.Facilities))
	for _, facility := range a.Facilities {
		has[facility] = true
	}
	var missing []string
	for _, need := range needs {
		if !has[need] {
			missing = append(missing, need)
		}
	}
	return missing
}
