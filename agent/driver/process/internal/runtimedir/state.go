// Package runtimedir describes the directory of one runtime, which its
// supervisor and the agents that come and go have in common: what the files in
// it are called, what the state file says, and what an agent and a supervisor
// say to each other.
package runtimedir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process/internal/cgroup"
	"github.com/streamspace/streamspace/models"
)

// The files of a runtime's directory.
const (
	// ControlSocket is listened on by the supervisor for as long as it lives:
	// a connection to it tells that it does, and its end when it does not any
	// more. The word StopRequest on it asks for the session's end.
	ControlSocket = "control.sock"
	// TerminalSocket serves the terminal protocol.
	TerminalSocket = "terminal.sock"
	// RunDir is the session's XDG_RUNTIME_DIR, and ScreenSocket in it is where
	// the X server serves RFB. Both belong to the session's user.
	RunDir       = "run"
	ScreenSocket = "rfb.sock"
	Xauthority   = "Xauthority"
	// PagesSocket in RunDir is where a session that shows pages serves HTTP.
	PagesSocket = "http.sock"
	// HomeDir is the home of a session that has none to keep.
	HomeDir = "home"
	TmpDir  = "tmp"
	// OutputLog is what the session's programs print, OldOutputLog the part
	// before that.
	OutputLog    = "output.log"
	OldOutputLog = "output.old.log"
	// SupervisorLog is what the supervisor has to say for itself.
	SupervisorLog = "supervisor.log"
	// StoppingMark is there once an agent has been told to stop the runtime:
	// its end is no news then.
	StoppingMark = "stopping"

	stateFile = "state.json"
)

// StopRequest on the control socket asks the supervisor to end the session.
const StopRequest = "stop\n"

// State is what a runtime's supervisor last wrote about it. It holds no
// secrets: no environment and no arguments.
type State struct {
	SessionID  string          `json:"sessionId"`
	Generation int64           `json:"generation"`
	User       string          `json:"user"`
	Template   string          `json:"template"`
	Protocol   models.Protocol `json:"protocol"`
	StartedAt  time.Time       `json:"startedAt"`

	TimeLimits models.TimeLimits `json:"timeLimits,omitzero"`
	// Ready tells that the start has succeeded.
	Ready bool `json:"ready"`
	// End is set when the session has ended by itself.
	End *End `json:"end,omitempty"`
	// UID is the user that the session runs as, or 0 for the agent's own.
	UID uint32 `json:"uid,omitempty"`
	// Isolated tells that the session has namespaces of its own.
	Isolated bool `json:"isolated,omitempty"`
	// Home is the persistent home, or empty for HomeDir.
	Home string `json:"home,omitempty"`
	// Spare is the name of the directory in which the screen was started before
	// the session was known, or empty.
	Spare string `json:"spare,omitempty"`
	// Display is the X server's number, or 0 without one.
	Display int `json:"display,omitempty"`
	// Group is where the session's processes are counted and limited.
	Group cgroup.Group `json:"group,omitzero"`
	// Limits says what each limit is and by which means, for people.
	Limits map[string]string `json:"limits,omitempty"`
}

// End is how a session ended by itself.
type End struct {
	Clean  bool   `json:"clean"`
	Reason string `json:"reason"`
}

// Ref names the runtime.
func (s State) Ref() driver.Ref {
	return driver.Ref{SessionID: s.SessionID, Generation: s.Generation}
}

// Read gives what the supervisor of the runtime in dir last wrote. The state
// of a runtime whose supervisor did not get that far is empty, and so is one
// that a power cut has spoilt.
func Read(dir string) (State, error) {
	content, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("read a runtime's state: %w", err)
	}
	var state State
	if err := json.Unmarshal(content, &state); err != nil {
		return State{}, nil
	}
	return state, nil
}

// Write replaces the state in dir as a whole. A durable write also survives a
// power cut, which costs two waits for the disk.
func Write(dir string, state State, durable bool) error {
	content, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode a runtime's state: %w", err)
	}
	if err := replace(dir, stateFile, content, durable); err != nil {
		return fmt.Errorf("write a runtime's state: %w", err)
	}
	return nil
}

func replace(dir, name string, content []byte, durable bool) error {
	temporary := filepath.Join(dir, name+".new")
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil && durable {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(dir, name)); err != nil || !durable {
		return err
	}
	opened, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(opened.Sync(), opened.Close())
}

// OutOfMemory is the reason of an end that the kernel has brought about.
func OutOfMemory(state State) string {
	limit, _, _ := strings.Cut(state.Limits["memory"], " ")
	return "the session ran out of memory: it may use " + limit + ", and the system ended its programs when they wanted more; " +
		"launch it with more memory"
}
