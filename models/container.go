package models

// PullPolicy says when an image is pulled.
type PullPolicy string

// The pull policies.
const (
	// PullMissing pulls an image that the machine does not have.
	PullMissing PullPolicy = "missing"
	PullAlways  PullPolicy = "always"
	PullNever   PullPolicy = "never"
)

// The defaults of a container.
const (
	DefaultContainerHome = "/home/streamspace"
	DefaultVNCPort       = 5900
)

// ContainerSpec is how an image is run.
type ContainerSpec struct {
	// Command is given to the image's entry point instead of its own command.
	Command []string `json:"command,omitempty" yaml:"command"`
	// Home is where the session's home is; DefaultContainerHome.
	Home string `json:"home,omitempty" yaml:"home"`
	// ShmSize is the size of /dev/shm, e.g. 1Gi; the engine's own when empty.
	ShmSize string `json:"shmSize,omitempty" yaml:"shmSize"`
	// ReadOnlyRoot has nothing be written but the home, /tmp and /run.
	ReadOnlyRoot bool `json:"readOnlyRoot,omitempty" yaml:"readOnlyRoot"`
	// PullPolicy is PullMissing when empty.
	PullPolicy PullPolicy `json:"pullPolicy,omitempty" yaml:"pullPolicy"`
}

// HomePath is Home or its default.
func (c ContainerSpec) HomePath() string {
	if c.Home == "" {
		return DefaultContainerHome
	}
	return c.Home
}

// WorkingDir is where the command begins: the home if one is named or a command
// is, and else where the image says.
func (c ContainerSpec) WorkingDir() string {
	if c.Home == "" && len(c.Command) == 0 {
		return ""
	}
	return c.HomePath()
}

// ContainerPort is the port that a container serves RFB on.
func (v VNC) ContainerPort() int {
	if v.Port == 0 {
		return DefaultVNCPort
	}
	return v.Port
}
