// Package config holds the typed configuration of every program: defaults,
// flags, environment variables and validation. A flag wins over its
// environment variable, which wins over the default.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Server configures the control plane.
type Server struct {
	// DataDir holds the database, the admin's token and the user's templates.
	DataDir string
	// Listen is the TCP address to serve on, host:port; port 0 takes a free one.
	Listen string
	// Database is postgres://…, sqlite:PATH or a path. Empty is
	// streamspace.db in DataDir.
	Database string
	// Templates is the directory of the user's templates. Empty is templates in
	// DataDir.
	Templates string
	// PublicURL is where users reach the control plane, e.g. behind a proxy
	// that ends TLS. Empty when they use Listen.
	PublicURL string
	// SessionHosts is the pattern of host names at which sessions show their pages,
	// such as *.sessions.example.org, or none. Empty gives them names for browsers
	// on this machine, and shows them on the console's origin elsewhere.
	SessionHosts string
	// Workers send commands to agents.
	Workers int
	// Queue is how many commands may wait for a worker in memory.
	Queue int
	// ReconcileEvery is the time between two looks at stuck sessions, StuckAfter
	// how long one may be in a state that should pass, and AgentGoneAfter the
	// silence after which an agent is taken for gone.
	ReconcileEvery, StuckAfter, AgentGoneAfter time.Duration
	// KeepCommands is for how long commands that have ended are kept.
	KeepCommands time.Duration
	// PlacementWeights say how much each part of an agent's score counts, by its
	// name; what is left out keeps its default.
	PlacementWeights map[string]string
	// TicketLife is how long a stream's ticket can be redeemed, at most a
	// minute.
	TicketLife time.Duration
	// StopWithin bounds an orderly end.
	StopWithin time.Duration
	Log        Log
}

// NewServer gives the defaults.
func NewServer() Server {
	return Server{
		DataDir: DefaultDataDir(os.LookupEnv),
		Listen:  "127.0.0.1:8080",
		Workers: 10,
		Queue:   1000,

		ReconcileEvery: time.Minute, StuckAfter: 5 * time.Minute, AgentGoneAfter: 10 * time.Minute,
		KeepCommands: 7 * 24 * time.Hour,
		TicketLife:   time.Minute,
		StopWithin:   15 * time.Second,

		Log: Log{Level: "info", Format: "text"},
	}
}

// DatabaseURL is Database, or the file in DataDir.
func (s Server) DatabaseURL() string {
	if s.Database != "" {
		return s.Database
	}
	return filepath.Join(s.DataDir, "streamspace.db")
}

// TemplatesDir is Templates, or the directory in DataDir.
func (s Server) TemplatesDir() string {
	if s.Templates != "" {
		return s.Templates
	}
	return filepath.Join(s.DataDir, "templates")
}

// AdminTokenFile is where the admin's token is kept.
func (s Server) AdminTokenFile() string { return adminTokenFile(s.DataDir) }

// Public gives PublicURL parsed; nil when there is none.
func (s Server) Public() (*url.URL, error) {
	if s.PublicURL == "" {
		return nil, nil
	}
	return webURL("public-url", s.PublicURL)
}

// Validate says what is wrong and which flag to change.
func (s Server) Validate() error {
	_, publicErr := s.Public()
	return errors.Join(
		required("data-dir", s.DataDir),
		address("listen", s.Listen),
		publicErr,
		hostPattern("session-host-pattern", s.SessionHosts),
		within("workers", s.Workers, 1, 1000),
		within("queue", s.Queue, 1, 1_000_000),
		lasting("reconcile-every", s.ReconcileEvery, time.Second, time.Hour),
		lasting("stuck-after", s.StuckAfter, time.Second, 24*time.Hour),
		lasting("agent-gone-after", s.AgentGoneAfter, time.Second, 30*24*time.Hour),
		lasting("keep-commands", s.KeepCommands, time.Minute, 10*365*24*time.Hour),
		lasting("ticket-life", s.TicketLife, 100*time.Millisecond, time.Minute),
		lasting("stop-within", s.StopWithin, time.Second, 10*time.Minute),
		s.Log.Validate(),
	)
}

// Up configures the control plane together with an agent on this machine.
type Up struct {
	Server
	// MaxSessions limits the sessions at one time; 0 is no limit.
	MaxSessions int
	// Docker is DockerAuto, DockerOff, or the address of the Docker engine that runs
	// sessions as containers beside those that are programs.
	Docker string
	// Region, HomeStore, Labels and Allocatable are the local agents'; HomeStore is
	// of programs alone.
	Region, HomeStore   string
	Labels, Allocatable map[string]string
}

// The values of Up.Docker that are no addresses.
const (
	// DockerAuto looks for an engine on this machine.
	DockerAuto = "auto"
	DockerOff  = "off"
)

// NewUp gives the defaults.
func NewUp() Up {
	up := Up{Server: NewServer(), Docker: DockerAuto}
	up.Log.Level = "warn" // people watch this one; the login link should stay in sight
	return up
}

// AgentKeyFile is where the local agent's key is kept.
func (u Up) AgentKeyFile() string { return filepath.Join(u.DataDir, "agent.key") }

// AgentDir is where the local agent keeps its journal and its sessions.
func (u Up) AgentDir() string { return filepath.Join(u.DataDir, "agent") }

// DockerAgentKeyFile and DockerAgentDir are the same of the agent that runs
// containers.
func (u Up) DockerAgentKeyFile() string { return filepath.Join(u.DataDir, "agent-docker.key") }

// DockerAgentDir is described with DockerAgentKeyFile.
func (u Up) DockerAgentDir() string { return filepath.Join(u.DataDir, "agent-docker") }

// Validate says what is wrong and which flag to change.
func (u Up) Validate() error {
	var dockerErr error
	if u.Docker != DockerAuto && u.Docker != DockerOff && !strings.Contains(u.Docker, "://") {
		dockerErr = fmt.Errorf("--docker must be %s, %s, or like unix:///run/docker.sock, not %q", DockerAuto, DockerOff, u.Docker)
	}
	return errors.Join(u.Server.Validate(), dockerErr, within("max-sessions", u.MaxSessions, 0, 100_000))
}

// Agent configures an agent that runs alone.
type Agent struct {
	// Server is the control plane's base URL.
	Server string
	// ID names the agent; the machine's name by default.
	ID string
	// Key is the agent's key. It has no flag, as other users of the machine
	// could read it; KeyFile is the file that holds it otherwise.
	Key, KeyFile string
	// DataDir holds the journal and the sessions.
	DataDir string
	// Platform is what sessions are: process, docker or kubernetes. DockerHost is the
	// engine's address for docker; empty is what DOCKER_HOST says, or else the usual
	// socket.
	Platform, DockerHost string
	// ContainersOf is whose containers its containers say that they are; empty is
	// ID. It has no flag.
	ContainersOf string
	// Kubernetes is for that platform.
	Kubernetes Kubernetes
	// DockerConfig is the directory of the file with credentials for registries;
	// empty is what DOCKER_CONFIG says, or else .docker in the user's home.
	DockerConfig string
	// Region, ClusterID and ClusterName say where the agent is.
	Region, ClusterID, ClusterName string
	// HomeStore names the storage that the directory homes in DataDir is on, if
	// agents on other machines have it there too.
	HomeStore string
	// MaxSessions limits the sessions at one time; 0 is no limit.
	MaxSessions int
	// Labels are what selectors of sessions choose by.
	Labels map[string]string
	// Allocatable is what sessions may have together, by cpu, memory and gpus.
	Allocatable map[string]string
	Log         Log
}

// The platforms of agents.
const (
	platformProcess    = "process"
	platformDocker     = "docker"
	platformKubernetes = "kubernetes"
)

// Kubernetes configures an agent whose sessions are pods.
type Kubernetes struct {
	// Kubeconfig is the file that says where the cluster is. Empty is the cluster
	// that the agent runs in, or else the usual file.
	Kubeconfig string
	// Namespace is where the pods are; that of the agent's own, or of the file.
	Namespace string
	// StorageClass is of persistent homes, the cluster's default one if empty, and
	// HomeSize how much each holds.
	StorageClass, HomeSize string
	// Replica names this agent among several of one id, of which one works. Empty is
	// an agent that is alone.
	Replica string
}

// NewAgent gives the defaults.
func NewAgent() Agent {
	return Agent{
		Server:     defaultServer,
		ID:         hostID(),
		DataDir:    filepath.Join(DefaultDataDir(os.LookupEnv), "agent"),
		Platform:   platformProcess,
		Kubernetes: Kubernetes{HomeSize: "10Gi"},
		Log:        Log{Level: "info", Format: "text"},
	}
}

// URL gives Server parsed.
func (a Agent) URL() (*url.URL, error) { return webURL("server", a.Server) }

// Secret gives Key, or what KeyFile holds.
func (a Agent) Secret() (string, error) {
	if a.Key != "" {
		return a.Key, nil
	}
	content, err := os.ReadFile(a.KeyFile)
	if err != nil {
		return "", fmt.Errorf("--key-file: %w", err)
	}
	key := strings.TrimSpace(string(content))
	if key == "" {
		return "", fmt.Errorf("--key-file: %s is empty", a.KeyFile)
	}
	return key, nil
}

// Validate says what is wrong and which flag to change.
func (a Agent) Validate() error {
	_, urlErr := a.URL()
	var keyErr error
	if a.Key == "" && a.KeyFile == "" {
		keyErr = fmt.Errorf("the agent's key is missing: make one with `streamspace agents key %s > agent.key` "+
			"and give it with --key-file agent.key, or as %s", a.ID, EnvAgentKey)
	}
	return errors.Join(
		urlErr,
		agentID(a.ID),
		keyErr,
		required("data-dir", a.DataDir),
		platform(a.Platform),
		within("max-sessions", a.MaxSessions, 0, 100_000),
		a.Log.Validate(),
	)
}

// Migrate configures the migration of a database.
type Migrate struct {
	// DataDir holds the database unless Database says otherwise.
	DataDir  string
	Database string
	Log      Log
}

// NewMigrate gives the defaults.
func NewMigrate() Migrate {
	return Migrate{DataDir: DefaultDataDir(os.LookupEnv), Log: Log{Level: "info", Format: "text"}}
}

// DatabaseURL is Database, or the file in DataDir.
func (m Migrate) DatabaseURL() string {
	return Server{DataDir: m.DataDir, Database: m.Database}.DatabaseURL()
}

// Validate says what is wrong and which flag to change.
func (m Migrate) Validate() error {
	return errors.Join(required("data-dir", m.DataDir), m.Log.Validate())
}

func required(flag, value string) error {
	if value == "" {
		return fmt.Errorf("--%s must not be empty", flag)
	}
	return nil
}

func platform(value string) error {
	if value != platformProcess && value != platformDocker && value != platformKubernetes {
		return fmt.Errorf("--platform must be %s, %s or %s, not %q", platformProcess, platformDocker, platformKubernetes, value)
	}
	return nil
}

// agentIDs are what the control plane takes as an agent's id.
var agentIDs = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func agentID(value string) error {
	if !agentIDs.MatchString(value) {
		return fmt.Errorf("--id must be letters, digits, dots, dashes and underscores, at most 128, not %q", value)
	}
	return nil
}

func within(flag string, value, least, most int) error {
	if value < least || value > most {
		return fmt.Errorf("--%s must be %d to %d, not %d", flag, least, most, value)
	}
	return nil
}

func lasting(flag string, value, least, most time.Duration) error {
	if value < least || value > most {
		return fmt.Errorf("--%s must be %v to %v, not %v", flag, least, most, value)
	}
	return nil
}

func address(flag, value string) error {
	if _, _, err := net.SplitHostPort(value); err != nil {
		return fmt.Errorf("--%s must be like 127.0.0.1:8080, not %q", flag, value)
	}
	return nil
}

// hostPatterns are a star for one label before a host name.
var hostPatterns = regexp.MustCompile(`^\*(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+$`)

func hostPattern(flag, value string) error {
	if value != "" && value != "none" && !hostPatterns.MatchString(value) {
		return fmt.Errorf("--%s must be like *.sessions.example.org, without a port, or none, not %q", flag, value)
	}
	return nil
}

func webURL(flag, value string) (*url.URL, error) {
	parsed, err := url.Parse(value)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
		return nil, fmt.Errorf("--%s must be like http://127.0.0.1:8080, not %q", flag, value)
	}
	return parsed, nil
}
