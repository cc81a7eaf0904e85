package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/internal/catalog"
)

const (
	// firstDisplay is above the displays that the product chooses from.
	firstDisplay = 31_000
	// acceptWithin bounds the start of an X server, and lookEvery is how often
	// it is tried: as often as the product does.
	acceptWithin = 30 * time.Second
	lookEvery    = 300 * time.Microsecond
	// x11Sockets is where X servers have their sockets.
	x11Sockets = "/tmp/.X11-unix"
)

// byHand starts what a session of the product consists of without the product:
// the same X server with the same arguments, the same program, the same
// environment and user, but nothing around them.
type byHand struct {
	b *harness.Bench
	// server and env are those of a session that the product has started.
	server, env []string
	uid         uint32
	cookie      []byte
	// program is the template's.
	program []string
	// started counts the starts.
	started int
}

// prepareByHand launches a session, which also warms the machine up, and looks
// at what runs then.
func prepareByHand(ctx context.Context, b *harness.Bench, ours *launcher) (*byHand, error) {
	h := &byHand{b: b}
	templates, err := catalog.Builtin()
	if err != nil {
		return nil, fmt.Errorf("read the templates: %w", err)
	}
	for _, known := range templates {
		if known.Metadata.Name == template {
			h.program = known.Spec.Process.Command
		}
	}
	session, err := ours.watcher.Launch(ctx, template)
	if err != nil {
		return nil, err
	}
	if err := h.observe(session.ID); err != nil {
		return nil, err
	}
	if h.uid == uint32(os.Getuid()) {
		h.uid = 0
	} else if err := os.Chmod(b.Dir, 0o711); err != nil { // the other user must pass
		return nil, fmt.Errorf("let the session's user pass: %w", err)
	}
	if err := ours.watcher.Stop(ctx, session.ID); err != nil {
		return nil, err
	}
	_, err = h.measure(ctx)
	return h, err
}

// observe takes over what the session's X server was started with.
func (h *byHand) observe(sessionID string) error {
	for _, process := range processes.List() {
		if len(process.Arguments) < 2 || filepath.Base(process.Arguments[0]) != "Xvnc" || !process.Mentions(sessionID) {
			continue
		}
		h.server, h.env, h.uid = process.Arguments, process.Env, process.UID
		// Through the process, as the session may have a file system of its own.
		dir := filepath.Join("/proc", strconv.Itoa(process.PID), "cwd")
		var err error
		if h.cookie, err = os.ReadFile(filepath.Join(dir, h.argument("-auth"))); err != nil {
			return fmt.Errorf("read the X cookie: %w", err)
		}
		return nil
	}
	return errors.New("the session has no Xvnc, so there is nothing to start by hand")
}

// measure starts a desktop, looks at it and ends it.
func (h *byHand) measure(ctx context.Context) (seen picture, err error) {
	h.started++
	display, err := h.freeDisplay()
	if err != nil {
		return picture{}, err
	}
	dir := filepath.Join(h.b.Dir, "byhand-"+strconv.Itoa(h.started))
	env, err := h.arrange(dir, display)
	if err != nil {
		return picture{}, err
	}
	var owner processes.Owner
	defer func() { err = errors.Join(err, owner.Stop(), os.RemoveAll(dir)) }()
	server := slices.Clone(h.server)
	server[1] = display
	begun := time.Now()
	screen, err := owner.Start(processes.Command{Path: server[0], Arguments: server[1:],
		Env: env, OnlyEnv: true, UID: h.uid, Dir: filepath.Join(dir, "run")})
	if errors.Is(err, os.ErrPermission) {
		return picture{}, fmt.Errorf("%w; the session's user must be able to pass the directories above %s: choose another with TMPDIR", err, dir)
	}
	if err != nil {
		return picture{}, err
	}
	conn, err := accepted(ctx, screen, filepath.Join(dir, "run", h.argument("-rfbunixpath")))
	if err != nil {
		return picture{}, err
	}
	defer func() { _ = conn.Close() }()
	if _, err := owner.Start(processes.Command{Path: h.program[0], Arguments: h.program[1:],
		Env: env, OnlyEnv: true, UID: h.uid, Dir: filepath.Join(dir, "home")}); err != nil {
		return picture{}, err
	}
	return look(conn, begun)
}

// freeDisplay gives a display that nobody has used.
func (h *byHand) freeDisplay() (string, error) {
	for number := firstDisplay + h.started; number < firstDisplay+1000; number++ {
		if _, err := os.Lstat(filepath.Join(x11Sockets, "X"+strconv.Itoa(number))); os.IsNotExist(err) {
			return ":" + strconv.Itoa(number), nil
		}
	}
	return "", errors.New("no display is free")
}

// arrange makes what the session's programs find, and gives their environment.
func (h *byHand) arrange(dir, display string) ([]string, error) {
	places := map[string]string{"HOME": filepath.Join(dir, "home"), "XDG_RUNTIME_DIR": filepath.Join(dir, "run"), "TMPDIR": filepath.Join(dir, "tmp")}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	for _, place := range places {
		if err := errors.Join(os.Mkdir(place, 0o700), h.own(place)); err != nil {
			return nil, fmt.Errorf("make a directory: %w", err)
		}
	}
	cookie := filepath.Join(places["XDG_RUNTIME_DIR"], h.argument("-auth"))
	if err := errors.Join(os.WriteFile(cookie, h.cookie, 0o600), h.own(cookie)); err != nil {
		return nil, fmt.Errorf("write the X cookie: %w", err)
	}
	var env []string
	for _, setting := range h.env {
		name, value, _ := strings.Cut(setting, "=")
		switch {
		case strings.HasPrefix(name, "STREAMSPACE_"):
			continue
		case name == "DISPLAY":
			value = display
		}
		// Of places inside each other the inner one comes first.
		for _, place := range []string{"XDG_RUNTIME_DIR", "HOME", "TMPDIR"} {
			if below, is := strings.CutPrefix(value, h.setting(place)); is && (below == "" || below[0] == '/') {
				value = places[place] + below
				break
			}
		}
		env = append(env, name+"="+value)
	}
	return env, nil
}

// own gives a file to the session's user.
func (h *byHand) own(path string) error {
	if h.uid == 0 {
		return nil
	}
	return os.Chown(path, int(h.uid), int(h.uid))
}

// argument is what follows the flag in the server's arguments.
func (h *byHand) argument(flag string) string {
	if i := slices.Index(h.server, flag); i >= 0 && i+1 < len(h.server) {
		return h.server[i+1]
	}
	return ""
}

// setting is the value of a variable of the session's environment.
func (h *byHand) setting(name string) string {
	for _, setting := range h.env {
		if value, is := strings.CutPrefix(setting, name+"="); is {
			return value
		}
	}
	return ""
}

// accepted connects to the server's socket as soon as that is possible.
func accepted(ctx context.Context, server *processes.Process, socket string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, acceptWithin)
	defer cancel()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			return conn, nil
		}
		select {
		case <-look.C:
		case <-server.Exited():
			return nil, fmt.Errorf("the X server ended:\n%s", server.Log())
		case <-ctx.Done():
			return nil, fmt.Errorf("the X server does not accept: %w (%w)\n%s", ctx.Err(), err, server.Log())
		}
	}
}
