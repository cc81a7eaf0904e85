package models

import (
	"slices"
	"strconv"
	"time"
)

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
	// AgentDraining agents keep what they run and take nothing new. Neither a
	// heartbeat nor a connection ends draining; a person does, by uncordoning.
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
	// HomeStore names the storage that the agent's persistent homes are on.
	// Agents with the same one share their homes; empty shares them with nobody.
	HomeStore string `json:"homeStore,omitempty" doc:"storage that the agent's persistent homes are on, shared with all agents that name the same"`
	Status    string `json:"status"`
	// Capacity is what the agent says it has, in its own words; known keys are
	// maxSessions and gpus (numbers), cpu and memory (quantities), and
	// allocatable, an object of the same keys: what sessions may have of it.
	Capacity map[string]interface{} `json:"capacity,omitempty"`
	// Labels are what selectors choose by.
	Labels map[string]string `json:"labels,omitempty"`
	// Cordoned agents take nothing new until a person says otherwise.
	Cordoned bool `json:"cordoned"`
	// DrainDeadline is when what still runs on a draining agent is hibernated if
	// it keeps a home, and stopped if not; nil leaves it.
	DrainDeadline *time.Time `json:"drainDeadline,omitempty"`
	// DrainedBy is who asked for the drain, such as user:NAME. It is empty when
	// the agent drains because it says so itself.
	DrainedBy string `json:"drainedBy,omitempty"`
	// Drained is what such a drain has done with sessions so far.
	Drained *Drained `json:"drained,omitempty" doc:"what the drain that somebody asked for has done with sessions so far"`
	// Metadata is whatever the agent said of itself when it registered.
	Metadata map[string]interface{} `json:"metadata,omitempty"`
	// Facilities are the needs of templates that the agent found on its
	// machine. Nil means that the agent never said, as agents that speak only
	// the basic protocol do not; such agents count as having everything.
	Facilities []string `json:"facilities,omitempty"`
	// Epoch numbers the agent's connections; the highest is the current one.
	Epoch int64 `json:"epoch"`
	// Connected tells that the connection of that epoch lasts, to whichever
	// replica. A replica that died has not said that it ended: LastHeartbeat tells.
	Connected     bool       `json:"connected" doc:"whether its newest connection lasts, to whichever replica; when a replica dies, lastHeartbeat tells first"`
	LastHeartbeat *time.Time `json:"lastHeartbeat,omitempty"`
	// Sessions is how many live sessions the control plane has placed there,
	// and Reserved what they take.
	Sessions  int       `json:"sessions"`
	Reserved  Amount    `json:"reserved"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	// Failing are templates that the agent keeps failing to start. They are not
	// kept with the agent, but found out when somebody asks.
	Failing []Breaker `json:"failing,omitempty" doc:"templates that the agent keeps failing to start, of which it gets nothing but probes"`
}

// Drained counts sessions by what a drain has done with them past its deadline.
type Drained struct {
	// Moved ones were woken on another agent, and Hibernated ones were not yet.
	Moved      int `json:"moved"`
	Hibernated int `json:"hibernated"`
	Stopped    int `json:"stopped"`
}

// Limit is what sessions may have of the agent: what it says is allocatable, or
// else its capacity. An agent that says what is allocatable limits CPU and memory
// by that alone, since sessions seldom use what they may. What it names no limit
// for is Unlimited, except GPUs, of which it has none then. What cannot be read
// counts as not named.
func (a Agent) Limit() Amount {
	allocatable, says := a.Capacity["allocatable"].(map[string]interface{})
	read := func(key string, otherwise int64, parse func(string) (int64, error)) int64 {
		all := []interface{}{allocatable[key], a.Capacity[key]}
		if says && (key == "cpu" || key == "memory") {
			all = all[:1]
		}
		for _, said := range all {
			text := ""
			switch said := said.(type) {
			case string:
				text = said
			case float64:
				text = strconv.FormatFloat(said, 'f', -1, 64)
			case int:
				text = strconv.Itoa(said)
			case int64:
				text = strconv.FormatInt(said, 10)
			}
			if text == "" {
				continue
			}
			if amount, err := parse(text); err == nil {
				return amount
			}
		}
		return otherwise
	}
	whole := func(text string) (int64, error) {
		number, err := strconv.ParseFloat(text, 64)
		if err == nil && (number < 1 || number > 1<<53) {
			err = strconv.ErrRange
		}
		return int64(number), err
	}
	return Amount{
		Sessions: read("maxSessions", Unlimited, whole), CPU: read("cpu", Unlimited, ParseCPU),
		Memory: read("memory", Unlimited, ParseMemory), GPUs: read("gpus", 0, whole),
	}
}

// Images lists the container images that the agent has said it holds: metadata
// "images", a list of names. They are given as ImageName has them.
func (a Agent) Images() []string {
	var names []string
	switch images := a.Metadata["images"].(type) {
	case []string:
		for _, name := range images {
			names = append(names, ImageName(name))
		}
	case []any:
		for _, image := range images {
			if name, is := image.(string); is {
				names = append(names, ImageName(name))
			}
		}
	}
	return names
}

// HoldsImage tells whether the agent has said that it holds a container image,
// by whichever of its names.
func (a Agent) HoldsImage(image string) bool { return slices.Contains(a.Images(), ImageName(image)) }

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
