package models

// Protocol is what a session's stream speaks.
type Protocol string

// The protocols of a session's stream.
const (
	// ProtocolVNC is RFB (RFC 6143).
	ProtocolVNC Protocol = "vnc"
	// ProtocolTerminal is the terminal protocol of docs/protocol.md.
	ProtocolTerminal Protocol = "terminal"
	// ProtocolHTTP is pages that a browser shows.
	ProtocolHTTP Protocol = "http"
)

// Template says what a session runs. It is also the templateManifest that a
// start command carries, so its JSON is part of the agent protocol.
type Template struct {
	APIVersion string           `json:"apiVersion,omitempty" yaml:"apiVersion"`
	Kind       string           `json:"kind,omitempty" yaml:"kind"`
	Metadata   TemplateMetadata `json:"metadata" yaml:"metadata"`
	Spec       TemplateSpec     `json:"spec" yaml:"spec"`
}

// TemplateMetadata names a template.
type TemplateMetadata struct {
	// Name is lower case letters, digits and dashes, at most 63.
	Name string `json:"name" yaml:"name"`
}

// TemplateSpec is the substance of a template.
type TemplateSpec struct {
	DisplayName string `json:"displayName" yaml:"displayName"`
	Description string `json:"description,omitempty" yaml:"description"`
	// Icon is one of the console's icon names: desktop, browser, terminal, app.
	Icon     string   `json:"icon,omitempty" yaml:"icon"`
	Protocol Protocol `json:"protocol,omitempty" yaml:"protocol"`
	// Platforms lists where the template can run; empty means anywhere.
	Platforms []string `json:"platforms,omitempty" yaml:"platforms"`
	// BaseImage is the container image, for platforms that have images.
	BaseImage        string    `json:"baseImage,omitempty" yaml:"baseImage"`
	DefaultResources Resources `json:"defaultResources" yaml:"defaultResources"`
	Ports            []Port    `json:"ports,omitempty" yaml:"ports"`
	Env              []EnvVar  `json:"env,omitempty" yaml:"env"`
	VNC              VNC       `json:"vnc" yaml:"vnc"`
	// HTTP is how a session of protocol http serves its pages.
	HTTP *HTTP `json:"http,omitempty" yaml:"http"`
	// PersistentHome keeps the session's home directory after it ends.
	PersistentHome bool `json:"persistentHome,omitempty" yaml:"persistentHome"`
	// IdleTimeout, MaxDuration and OnLimit are the sessions' TimeLimits.
	IdleTimeout string  `json:"idleTimeout,omitempty" yaml:"idleTimeout"`
	MaxDuration string  `json:"maxDuration,omitempty" yaml:"maxDuration"`
	OnLimit     OnLimit `json:"onLimit,omitempty" yaml:"onLimit"`
	// OnLost is what becomes of a session that its agent does not have any more;
	// empty is WhenLost's default.
	OnLost OnLost `json:"onLost,omitempty" yaml:"onLost"`
	// Container is how platforms with containers run the image.
	Container *ContainerSpec `json:"container,omitempty" yaml:"container"`
	// Kubernetes is what a pod has besides.
	Kubernetes *KubernetesSpec `json:"kubernetes,omitempty" yaml:"kubernetes"`
	// Process is what the process platform runs.
	Process *ProcessSpec `json:"process,omitempty" yaml:"process"`
}

// Port is a port that the session listens on inside its container.
type Port struct {
	Name          string `json:"name" yaml:"name"`
	ContainerPort int    `json:"containerPort" yaml:"containerPort"`
	Protocol      string `json:"protocol,omitempty" yaml:"protocol"`
}

// EnvVar is one environment variable of the session.
type EnvVar struct {
	Name  string `json:"name" yaml:"name"`
	Value string `json:"value" yaml:"value"`
}

// VNC says whether and where the session serves RFB.
type VNC struct {
	Enabled  bool   `json:"enabled" yaml:"enabled"`
	Port     int    `json:"port,omitempty" yaml:"port"`
	Protocol string `json:"protocol,omitempty" yaml:"protocol"`
}

// ProcessSpec is what the process platform runs for a session.
type ProcessSpec struct {
	// Command is the program and its arguments, run in the session's home.
	Command []string `json:"command" yaml:"command"`
	// Geometry is the first screen size of a VNC session, e.g. 1280x800.
	Geometry string `json:"geometry,omitempty" yaml:"geometry"`
	// Needs are the commands that must be found in PATH.
	Needs []Need `json:"needs,omitempty" yaml:"needs"`
}

// Need is one command that must exist on the machine, and how to get it.
type Need struct {
	Command string `json:"command" yaml:"command"`
	// Install tells a person what to install, e.g. the Debian package.
	Install string `json:"install" yaml:"install"`
}

// Needs lists the commands that the template needs on the process platform.
func (t Template) Needs() []string {
	if t.Spec.Process == nil {
		return nil
	}
	commands := make([]string, 0, len(t.Spec.Process.Needs))
	for _, need := range t.Spec.Process.Needs {
		commands = append(commands, need.Command)
	}
	return commands
}

// RunsOn reports whether the template can run on platform.
func (t Template) RunsOn(platform string) bool {
	if len(t.Spec.Platforms) == 0 {
		return true
	}
	for _, candidate := range t.Spec.Platforms {
		if candidate == platform {
			return true
		}
	}
	return false
}
