// Package process runs sessions as processes of this machine, without
// containers and without a daemon.
//
// Each session has a supervisor, a process of this same program that is in a
// process group of its own and outlives the agent. All that the agent knows of
// a session is in its directory, Dir/sessions/ID.GENERATION, so an agent that
// starts again finds every session where it is. A supervisor lives as long as
// it listens on the control socket in that directory; no process number is
// ever trusted across time. While the agent runs, a supervisor and a screen are
// up already and wait for the next session, so that it is there at once.
//
// An agent that runs as root runs each session as a user of its own, with a
// file system view, process numbers and shared memory of its own where the
// system has namespaces to give. Any other agent runs sessions as its own user.
package process

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process/internal/cgroup"
	"github.com/streamspace/streamspace/agent/driver/process/internal/supervisor"
	"github.com/streamspace/streamspace/agent/driver/turns"
	"github.com/streamspace/streamspace/models"
)

// SuperviseCommand is the subcommand of the program that is a session's
// supervisor. A main function hands the arguments after it to Supervise before
// it does anything else.
const SuperviseCommand = "supervise"

// Supervise is the whole life of a supervisor and gives its exit status.
func Supervise(args []string) int { return supervisor.Run(args) }

// The defaults of Config.
const (
	DefaultStartTimeout = 30 * time.Second
	DefaultStopGrace    = 3 * time.Second
	// DefaultFirstUID and DefaultLastUID bound the users that sessions of a
	// root agent run as. No distribution gives these to anybody: systemd's list
	// ("Users, Groups, UIDs and GIDs on systemd systems") has 1879048192 to
	// 2147352575 as unused, and SSSD and FreeIPA map domain users to numbers
	// up to 2000200000.
	DefaultFirstUID = 2_001_000_000
	DefaultLastUID  = 2_147_352_575
)

// maxProcesses is how many processes and threads a session may have. Chromium
// with many tabs has some hundreds.
const maxProcesses = 4096

// Config configures a Driver. Dir must be set; the zero value of any other
// field means its default.
type Config struct {
	// Dir is the absolute path of the agent's directory. The driver keeps to
	// the directories sessions and homes in it, and one driver at a time may
	// use it.
	Dir string
	// Logger discards by default.
	Logger *slog.Logger
	// Executable is the program whose SuperviseCommand supervises; by default
	// the running one, also when its file has been replaced meanwhile.
	Executable string
	// Path is where sessions find programs, and where needs are looked for;
	// the agent's own PATH.
	Path string
	// StartTimeout bounds a start; DefaultStartTimeout.
	StartTimeout time.Duration
	// StopGrace is how long programs have to end by themselves when a session
	// is stopped, before they are killed; DefaultStopGrace. Half of it goes by
	// before the screen is taken from those that are still there.
	StopGrace time.Duration
	// FirstUID and LastUID bound the users of sessions when the agent runs as
	// root; DefaultFirstUID and DefaultLastUID.
	FirstUID, LastUID uint32
	// NoNamespaces keeps a root agent from giving sessions namespaces of their
	// own, as if the system refused.
	NoNamespaces bool
	// Now is the clock of Runtime.StartedAt; time.Now.
	Now func() time.Time
}

// Driver implements driver.Driver. Safe for concurrent use.
type Driver struct {
	config          Config
	sessions, homes string
	root            bool
	login           string
	shell, lang     string
	cgroups         cgroup.Places
	// turns are sessions', homeTurns persistent homes'. Who wants both takes the
	// session's first.
	turns, homeTurns *turns.Turns
	children         children
	noNamespaces     atomic.Bool

	mu    sync.Mutex
	watch *watch
}

var _ driver.Driver = (*Driver)(nil)

// New makes a driver and the directories that it needs. Sessions that an
// earlier driver on the same directory started are found by themselves.
func New(config Config) (*Driver, error) {
	if !filepath.IsAbs(config.Dir) {
		return nil, fmt.Errorf("the agent's directory %q must be an absolute path", config.Dir)
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Executable == "" {
		config.Executable = "/proc/self/exe"
	}
	if config.Path == "" {
		config.Path = os.Getenv("PATH")
	}
	if config.Path == "" {
		config.Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	if config.StartTimeout <= 0 {
		config.StartTimeout = DefaultStartTimeout
	}
	if config.StopGrace <= 0 {
		config.StopGrace = DefaultStopGrace
	}
	if config.FirstUID == 0 && config.LastUID == 0 {
		config.FirstUID, config.LastUID = DefaultFirstUID, DefaultLastUID
	}
	if config.FirstUID == 0 || config.LastUID < config.FirstUID {
		return nil, fmt.Errorf("%d to %d is no range of user numbers for sessions", config.FirstUID, config.LastUID)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	d := &Driver{
		config:    config,
		sessions:  filepath.Join(config.Dir, "sessions"),
		homes:     filepath.Join(config.Dir, "homes"),
		root:      os.Geteuid() == 0,
		cgroups:   cgroup.Find(),
		turns:     turns.New(),
		homeTurns: turns.New(),
		children:  children{started: map[string]*child{}},
	}
	d.noNamespaces.Store(config.NoNamespaces)
	d.login, d.shell, d.lang = d.person()
	for _, dir := range []string{d.sessions, d.homes} {
		if err := os.MkdirAll(dir, d.passable()); err != nil {
			return nil, fmt.Errorf("make the directory for sessions: %w", err)
		}
		// An earlier run may have had other rights.
		if err := os.Chmod(dir, d.passable()); err != nil {
			return nil, fmt.Errorf("make the directory for sessions: %w", err)
		}
	}
	return d, nil
}

// passable is the mode of directories on the way to what belongs to a
// session's user. Sessions of root's are other users: they may pass and see
// nothing.
func (d *Driver) passable() os.FileMode {
	if d.root {
		return 0o711
	}
	return 0o700
}

// person gives what sessions of this agent's own user take over from it: its
// name, shell and language.
func (d *Driver) person() (login, shell, lang string) {
	if current, err := user.Current(); err == nil {
		login = current.Username
	}
	shell = os.Getenv("SHELL")
	for _, candidate := range []string{"bash", "sh"} {
		if _, err := os.Stat(shell); shell == "" || err != nil {
			shell, _ = look(d.config.Path, candidate)
		}
	}
	if shell == "" {
		shell = "/bin/sh"
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if lang = os.Getenv(name); lang != "" {
			break
		}
	}
	if charset := strings.ToLower(lang); !strings.Contains(charset, "utf-8") && !strings.Contains(charset, "utf8") {
		lang = "C.UTF-8"
	}
	return login, shell, lang
}

// Platform implements driver.Driver.
func (d *Driver) Platform() string { return models.PlatformProcess }

// Facilities tells which of needs are commands in Config.Path.
func (d *Driver) Facilities(_ context.Context, needs []string) ([]string, error) {
	found := []string{}
	for _, need := range needs {
		if _, ok := look(d.config.Path, need); ok {
			found = append(found, need)
		}
	}
	return found, nil
}
