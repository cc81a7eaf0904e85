package process_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/drivertest"
	"github.com/streamspace/streamspace/agent/driver/process"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// has skips a test for want of programs, and fails it where everything is
// supposed to be there.
func has(t *testing.T, commands ...string) {
	t.Helper()
	for _, command := range commands {
		if _, err := exec.LookPath(command); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed; run scripts/install-deps", command)
		}
		t.Skip("SKIPPED: there is no " + command)
	}
}

// opened is a world with a driver on it.
type opened struct {
	drivertest.World
	driver.Driver
	dir string
}

func open(t *testing.T, config process.Config) *opened {
	t.Helper()
	w := world(t, config)
	return &opened{World: w, Driver: w.Open(t), dir: config.Dir}
}

func (o *opened) start(t *testing.T, spec driver.Spec) driver.Runtime {
	t.Helper()
	started, err := o.Start(program.Limit(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	return started
}

// gone stops a session and checks that nothing is left.
func (o *opened) gone(t *testing.T, sessionID string) {
	t.Helper()
	if err := o.Stop(program.Limit(t), driver.Ref{SessionID: sessionID, Generation: 9}); err != nil {
		t.Fatal(err)
	}
	if left := o.Left(t, sessionID); len(left) > 0 {
		t.Errorf("of %s is left:\n%s", sessionID, strings.Join(left, "\n"))
	}
}

// in is a path in the directory of a session's first generation.
func (o *opened) in(sessionID string, names ...string) string {
	return filepath.Join(append([]string{o.dir, "sessions", sessionID + ".1"}, names...)...)
}

func one(sessionID string) driver.Ref { return driver.Ref{SessionID: sessionID, Generation: 1} }

// processOf waits for a session's process that runs a program.
func (o *opened) processOf(t *testing.T, sessionID, command string) (pid int) {
	t.Helper()
	program.Eventually(t, sessionID+" runs "+command, 30*time.Second, func() error {
		tree := program.ProcessesOf(t, o.in(sessionID))
		for _, candidate := range tree {
			// The kernel keeps 15 characters.
			name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", candidate)) // it may have ended
			if strings.TrimSpace(string(name)) == command {
				pid = candidate
				return nil
			}
		}
		return fmt.Errorf("it runs\n%s", program.Describe(tree))
	})
	return pid
}

// A program that uses the screen, with its home on the agent's disk.
func TestOwnProgramUsesTheScreen(t *testing.T) {
	has(t, "Xvnc", "xterm")
	o := open(t, process.Config{Dir: t.TempDir()})
	started := o.start(t, screen(one("draw"), "xterm", "-e", "sh", "-c", "id -u > uid.txt; echo $HOME > home.txt; exec sleep 1000"))
	var uid, home []byte
	program.Eventually(t, "the program runs in its home", 30*time.Second, func() (err error) {
		uid, err = os.ReadFile(o.in("draw", "home", "uid.txt"))
		if err == nil {
			home, err = os.ReadFile(o.in("draw", "home", "home.txt"))
		}
		if err == nil && len(home) == 0 {
			err = errors.New("it is still writing")
		}
		return err
	})
	user, err := strconv.Atoi(strings.TrimSpace(string(uid)))
	if err != nil {
		t.Fatal(err)
	}
	server := o.processOf(t, "draw", "Xvnc")
	if os.Geteuid() == 0 {
		if user < process.DefaultFirstUID || user > process.DefaultLastUID {
			t.Errorf("the session runs as user %d", user)
		}
		if got := strings.TrimSpace(string(home)); got != "/home/alice" {
			t.Errorf("the session's home is called %q", got)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server))
		if err != nil || !bytes.Contains(status, fmt.Appendf(nil, "\nUid:\t%d\t%d\t%d\t%d\n", user, user, user, user)) ||
			!bytes.Contains(status, []byte("\nGroups:\t \n")) || !bytes.Contains(status, []byte("\nNoNewPrivs:\t1\n")) ||
			!bytes.Contains(status, []byte("\nCapPrm:\t0000000000000000\n")) {
			t.Errorf("the X server has rights of its own: %v\n%s", err, status)
		}
	} else if user != os.Geteuid() {
		t.Errorf("the session runs as user %d", user)
	}
	isPrivate(t, o, server, started)
	o.gone(t, "draw")
}

// isPrivate checks that nobody can reach the screen but the agent.
func isPrivate(t *testing.T, o *opened, server int, started driver.Runtime) {
	t.Helper()
	info, err := os.Lstat(o.in(started.SessionID, "run", "rfb.sock"))
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the RFB socket is %v, %v", info.Mode(), err)
	}
	if info, err = os.Lstat(o.in(started.SessionID, "run", "Xauthority")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the cookie is %v, %v", info.Mode(), err)
	}
	// No socket of the server's is a TCP one, or has an abstract name.
	descriptors, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", server))
	if err != nil || len(descriptors) == 0 {
		t.Fatalf("the server's descriptors are %v, %v", descriptors, err)
	}
	listed := map[string]string{}
	for _, table := range []string{"tcp", "tcp6", "unix"} {
		content, err := os.ReadFile("/proc/net/" + table)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(content), "\n") {
			for _, field := range strings.Fields(line) {
				listed[field] += table + ": " + line + "\n"
			}
		}
	}
	sockets := 0
	for _, descriptor := range descriptors {
		target, _ := os.Readlink(descriptor) // it may have been closed
		inode, found := strings.CutPrefix(strings.TrimSuffix(target, "]"), "socket:[")
		if !found {
			continue
		}
		sockets++
		if line := listed[inode]; strings.HasPrefix(line, "tcp") || strings.Contains(line, "@") {
			t.Errorf("the server has a socket that others can reach: %s", line)
		}
	}
	if sockets < 2 {
		t.Errorf("the test should see the server's sockets, and sees %d", sockets)
	}
	// Without the cookie the X server serves nobody.
	display := strings.TrimPrefix(started.Metadata["display"].(string), ":")
	conn, err := net.Dial("unix", fmt.Sprintf("/proc/%d/root/tmp/.X11-unix/X%s", server, display))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// X11's connection setup: byte order, version 11.0, no authorization. The
	// answer's first byte is 0 for a refusal.
	if _, err := conn.Write([]byte{'l', 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1)
	if _, err := conn.Read(answer); err != nil || answer[0] != 0 {
		t.Errorf("a client without the cookie is answered %v, %v", answer, err)
	}
}

// Socket names have 107 bytes; directories may have more.
func TestOwnLongDirectory(t *testing.T) {
	has(t, "Xvnc")
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	o := open(t, process.Config{Dir: dir})
	for _, spec := range []driver.Spec{terminal(one("words"), "sh"), screen(one("picture"), "sleep", "1000")} {
		o.start(t, spec)
		conn, err := o.Dial(program.Limit(t), spec.Ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 100)); n == 0 || err != nil {
			t.Errorf("%s says nothing: %v", spec.SessionID, err)
		}
		_ = conn.Close()
		o.gone(t, spec.SessionID)
	}
}

// Viewers all come by one socket, so those that leave early must not have the
// others refused.
func TestOwnImpatientViewers(t *testing.T) {
	has(t, "Xvnc")
	o := open(t, process.Config{Dir: t.TempDir()})
	o.start(t, screen(one("busy"), "sleep", "1000"))
	for i := range 30 {
		conn, err := o.Dial(program.Limit(t), one("busy"))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		// Who is refused hears of an older version first.
		version := make([]byte, 12)
		if n, err := conn.Read(version); string(version[:n]) != "RFB 003.008\n" || err != nil {
			t.Fatalf("viewer %d hears %q, %v", i, version[:n], err)
		}
		_ = conn.Close()
	}
}

// A desktop that does nothing ends before its screen is taken from it.
func TestOwnDesktopEndsQuickly(t *testing.T) {
	has(t, "Xvnc", "icewm", "xterm", "pcmanfm")
	o := open(t, process.Config{Dir: t.TempDir()})
	o.start(t, screen(one("desk"), "sh", "-c", "xterm & xterm & pcmanfm & exec icewm"))
	for _, command := range []string{"icewm", "xterm", "pcmanfm"} {
		o.processOf(t, "desk", command)
	}
	begun := time.Now()
	o.gone(t, "desk")
	if took := time.Since(begun); took > process.DefaultStopGrace/2 {
		t.Errorf("it took %v", took)
	}
}

func TestOwnScreenAndProgramEndTogether(t *testing.T) {
	has(t, "Xvnc")
	o := open(t, process.Config{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	exits, err := o.Exits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		program string
		end     func(t *testing.T)
		clean   bool
		reason  string
	}{
		"logout": {"sleep 1", func(*testing.T) {}, true, "has ended"},
		"failing program": {"echo no such luck >&2; exit 5", func(*testing.T) {}, false,
			"the session's program ended with status 5; its last output: no such luck"},
		"killed program": {"kill -9 $$", func(*testing.T) {}, false, "the session's program was ended by the signal SIGKILL"},
		"killed X server": {"sleep 1000", func(t *testing.T) {
			if err := syscall.Kill(o.processOf(t, "pair", "Xvnc"), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}, false, "the session's X server was ended by the signal SIGKILL"},
		"killed supervisor": {"sleep 1000", func(t *testing.T) {
			if err := syscall.Kill(o.processOf(t, "pair", "streamspace"), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}, false, "supervisor was killed"},
	} {
		t.Run(name, func(t *testing.T) {
			// What ends at once may do so before the start has succeeded.
			started, err := o.Start(program.Limit(t), screen(one("pair"), "sh", "-c", test.program))
			if err != nil {
				t.Fatal(err)
			}
			test.end(t)
			exit := <-exits
			if exit.Ref != one("pair") || exit.Clean != test.clean || exit.Lost != (name == "killed supervisor") || !strings.Contains(exit.Reason, test.reason) {
				t.Errorf("the exit is %+v", exit)
			}
			program.Eventually(t, "nothing is left", 30*time.Second, func() error {
				if left := o.Left(t, "pair"); len(left) > 0 {
					return errors.New(strings.Join(left, "\n"))
				}
				display := strings.TrimPrefix(started.Metadata["display"].(string), ":")
				for _, path := range []string{"/tmp/.X" + display + "-lock", "/tmp/.X11-unix/X" + display} {
					if _, err := os.Lstat(path); err == nil {
						return fmt.Errorf("%s is left", path)
					}
				}
				return nil
			})
		})
	}
	cancel()
	for range exits {
		t.Error("there are more exits than ends")
	}
}

// A session may do what it likes with its own files. The agent, which may have
// more rights, is not led elsewhere by that.
func TestOwnSocketOfASessionIsNotFollowed(t *testing.T) {
	has(t, "Xvnc")
	o := open(t, process.Config{Dir: t.TempDir()})
	o.start(t, screen(one("sly"), "sleep", "1000"))
	decoy := filepath.Join(t.TempDir(), "decoy.sock")
	listener, err := net.Listen("unix", decoy)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	socket := o.in("sly", "run", "rfb.sock")
	if err := errors.Join(os.Remove(socket), os.Symlink(decoy, socket)); err != nil {
		t.Fatal(err)
	}
	conn, err := o.Dial(program.Limit(t), one("sly"))
	if err == nil {
		_ = conn.Close()
	}
	var told *models.Error
	if !errors.As(err, &told) || told.Code != models.CodeTunnelFailed {
		t.Errorf("the agent has followed a link of the session's: %v", err)
	}
	// The same with a directory on the way.
	if err := errors.Join(os.Remove(socket), os.Rename(o.in("sly", "run"), o.in("sly", "moved")),
		os.Symlink(filepath.Dir(decoy), o.in("sly", "run")), os.Rename(decoy, filepath.Join(filepath.Dir(decoy), "rfb.sock"))); err != nil {
		t.Fatal(err)
	}
	if conn, err = o.Dial(program.Limit(t), one("sly")); err == nil {
		_ = conn.Close()
		t.Error("the agent has followed a link of the session's on the way")
	}
}

// A browser is the most demanding program that sessions run: shared memory,
// many processes, and a sandbox of its own where the system allows it.
func TestOwnBrowser(t *testing.T) {
	has(t, "Xvnc", "chromium")
	if testing.Short() {
		t.Skip("SKIPPED: a browser takes long to start")
	}
	o := open(t, process.Config{Dir: t.TempDir()})
	spec := screen(one("surf"), "sh", "-c", `
		unshare --user --map-root-user true 2>/dev/null || set -- --no-sandbox
		chromium "$@" --disable-gpu --no-first-run --headless=new --screenshot="$HOME/page.png" 'data:text/html,<h1>here</h1>' > log 2>&1
		sleep 1000`)
	spec.Resources = models.Resources{Memory: "2Gi"}
	o.start(t, spec)
	program.Eventually(t, "the browser shows a page", time.Minute, func() error {
		_, err := os.Stat(o.in("surf", "home", "page.png"))
		if err != nil {
			log, _ := os.ReadFile(o.in("surf", "home", "log")) // it may not be there yet
			err = fmt.Errorf("%w; the browser says %s", err, log)
		}
		return err
	})
	o.gone(t, "surf")
}

// Displays that others have are left to them.
func TestOwnScreensOfManyAgents(t *testing.T) {
	has(t, "Xvnc")
	const agents, each = 2, 4
	displays := make(chan string, agents*each)
	for range agents {
		o := open(t, process.Config{Dir: t.TempDir()})
		for i := range each {
			started, err := o.Start(program.Limit(t), screen(one("s"+strconv.Itoa(i)), "sleep", "1000"))
			if err != nil {
				t.Fatal(err)
			}
			displays <- started.Metadata["display"].(string)
		}
	}
	close(displays)
	seen := map[string]bool{}
	for display := range displays {
		if seen[display] {
			t.Errorf("display %s was given twice", display)
		}
		seen[display] = true
		// Nobody can pose as the display.
		name := "@/tmp/.X11-unix/X" + strings.TrimPrefix(display, ":")
		socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(socket, &unix.SockaddrUnix{Name: name}); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("the abstract name of %s can be taken: %v (%s)", display, err, hex.EncodeToString([]byte(name)))
		}
		_ = unix.Close(socket)
	}
}
