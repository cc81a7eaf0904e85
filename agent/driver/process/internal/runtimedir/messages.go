package runtimedir

import (
	"time"

	"github.com/streamspace/streamspace/agent/driver/process/internal/cgroup"
	"github.com/streamspace/streamspace/models"
)

// StarterFD is the descriptor on which a supervisor gets its Assignment and
// gives its Answer, one line of JSON each, and a spare one both twice. When the agent closes it before the
// Answer, nobody wants the session any more.
const StarterFD = 3

// Assignment is all that a supervisor needs to run a session.
type Assignment struct {
	// Dir is the runtime's directory. It exists.
	Dir string `json:"dir"`
	// State is what is known before the start.
	State State `json:"state"`
	// Command is the program and its arguments; empty means a login shell.
	Command  []string        `json:"command"`
	Env      []models.EnvVar `json:"env"`
	Geometry string          `json:"geometry"`
	// Pages is how a session of protocol http serves.
	Pages models.HTTP `json:"pages,omitzero"`
	// Login is the name of the session's user, as far as the system has none.
	Login string `json:"login"`
	Path  string `json:"path"`
	Lang  string `json:"lang"`
	Shell string `json:"shell"`
	// Cgroups is where control groups can be made.
	Cgroups cgroup.Places `json:"cgroups"`
	Limits  cgroup.Limits `json:"limits"`
	// StopGrace is how long the session's programs have to end by themselves.
	StopGrace time.Duration `json:"stopGrace"`
	// Spare tells that the session is not known yet: the supervisor brings up
	// what sessions like the one that State and Geometry describe have in
	// common, and after its Answer waits for another assignment.
	Spare bool `json:"spare,omitempty"`
}

// Answer is the outcome of a start. The state is written before it is given.
type Answer struct {
	Problem *Problem `json:"problem,omitempty"`
}

// Problem is why a start failed. Nothing of the session runs any more.
type Problem struct {
	Code      models.ErrorCode `json:"code"`
	Message   string           `json:"message"`
	Retryable bool             `json:"retryable"`
	// Detail is for the log.
	Detail string `json:"detail,omitempty"`
	// NoNamespaces tells that the system refuses namespaces or mounts, so that
	// the start may be tried without.
	NoNamespaces bool `json:"noNamespaces,omitempty"`
}
