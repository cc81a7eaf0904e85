package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
)

// Where an isolated session finds what is its own. Short names: programs put
// sockets there, whose names have 107 bytes.
const (
	isolatedHomes = "/home"
	isolatedTmp   = "/tmp"
	isolatedRun   = "/tmp/.runtime"
)

// maxTmp is the longest private directory that is worth being TMPDIR: sockets
// that programs make there must have names of at most 107 bytes, and Chromium's
// /org.chromium.Chromium.abcdef/SingletonSocket takes 45 of them.
const maxTmp = 107 - 45

// places are directories as the session sees them.
type places struct {
	login, home, run, tmp string
}

// arrange decides on the places.
func (s *supervisor) arrange() places {
	if s.state.Isolated {
		login := freeLogin(s.assignment.Login)
		return places{login: login, home: filepath.Join(isolatedHomes, login), run: isolatedRun, tmp: isolatedTmp}
	}
	p := places{
		login: s.assignment.Login,
		home:  s.state.Home,
		run:   filepath.Join(s.assignment.Dir, runtimedir.RunDir),
		tmp:   filepath.Join(s.assignment.Dir, runtimedir.TmpDir),
	}
	if p.home == "" {
		p.home = filepath.Join(s.assignment.Dir, runtimedir.HomeDir)
	}
	if len(p.tmp) > maxTmp {
		p.tmp = os.TempDir()
	}
	return p
}

// environment is that of the session's programs: nothing of this process's
// own, which is the agent's. The template may change what is not the session's
// identity.
func (s *supervisor) environment() environment {
	var env environment
	env.set("PATH", s.assignment.Path)
	env.set("LANG", s.assignment.Lang)
	env.set("SHELL", s.assignment.Shell)
	env.set("TERM", "xterm-256color")
	env.set("TMPDIR", s.places.tmp)
	for name, dir := range map[string]string{
		"XDG_CONFIG_HOME": ".config", "XDG_CACHE_HOME": ".cache", "XDG_DATA_HOME": ".local/share", "XDG_STATE_HOME": ".local/state",
	} {
		env.set(name, filepath.Join(s.places.home, dir))
	}
	for _, variable := range s.assignment.Env {
		env.set(variable.Name, variable.Value)
	}
	env.set("HOME", s.places.home)
	env.set("USER", s.places.login)
	env.set("LOGNAME", s.places.login)
	env.set("XDG_RUNTIME_DIR", s.places.run)
	if s.display != nil {
		env.set("DISPLAY", s.displayName())
		env.set("XAUTHORITY", filepath.Join(s.places.run, runtimedir.Xauthority))
	}
	if s.state.Protocol == models.ProtocolHTTP {
		env.set(models.HTTPSocketEnv, s.pagesSocket())
	}
	for _, mark := range runtimedir.Marks(s.state.SessionID, s.assignment.Dir) {
		name, value, _ := strings.Cut(mark, "=")
		env.set(name, value)
	}
	return env
}

// environment is a list of NAME=VALUE in which a name occurs once: of several,
// programs differ in which one they take.
type environment []string

func (e *environment) set(name, value string) {
	*e = slices.DeleteFunc(*e, func(setting string) bool { return strings.HasPrefix(setting, name+"=") })
	*e = append(*e, name+"="+value)
}

// get gives the value of name, or nothing.
func (e environment) get(name string) string {
	for _, setting := range e {
		if value, found := strings.CutPrefix(setting, name+"="); found {
			return value
		}
	}
	return ""
}
