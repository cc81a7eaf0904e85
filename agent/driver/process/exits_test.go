package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver/process"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// Exits that are asked for while a session is starting do not miss its end,
// whichever comes first.
func TestOwnExitsWhileStarting(t *testing.T) {
	o := open(t, process.Config{Dir: t.TempDir()})
	for i := range 40 {
		id := fmt.Sprintf("brief-%d", i)
		ctx, cancel := context.WithCancel(context.Background())
		failed := make(chan error, 1)
		go func() {
			_, err := o.Start(ctx, terminal(one(id), "sh", "-c", "sleep 0.05; exit 6"))
			failed <- err
		}()
		<-time.After(time.Duration(i) * 250 * time.Microsecond) // the moment that is tried
		exits, err := o.Exits(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
		select {
		case exit := <-exits:
			if exit.Ref != one(id) {
				t.Errorf("the exit is %+v", exit)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("try %d: the end is not told", i)
		}
		cancel()
		for range exits {
			t.Error("the end is told again")
		}
	}
}

func TestOwnExitsHaveOneCaller(t *testing.T) {
	o := open(t, process.Config{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	exits, err := o.Exits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Exits(ctx); err == nil {
		t.Error("there are two callers")
	}
	cancel()
	for range exits {
		t.Error("nothing has ended")
	}
}

// Shells do not end when they are asked to, but when their terminal hangs up,
// and then they write down what was typed.
func TestOwnShellEndsQuickly(t *testing.T) {
	has(t, "bash")
	t.Setenv("SHELL", "/bin/bash")
	o := open(t, process.Config{Dir: t.TempDir()})
	spec := terminal(one("shell"))
	spec.PersistentHome = true
	o.start(t, spec)
	conn, err := o.Dial(program.Limit(t), one("shell"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	command := "echo login-$0-$((40+2)); sleep 1000 &\n"
	if _, err := conn.Write(append([]byte{0, 0, 0, 0, byte(len(command))}, command...)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	buffer := make([]byte, 4<<10)
	// A login shell of the agent's own kind, since the template names none.
	for !strings.Contains(seen.String(), "login--bash-42") {
		n, err := conn.Read(buffer)
		seen.Write(buffer[:n])
		if err != nil {
			t.Fatalf("%v after %q", err, seen.String())
		}
	}
	begun := time.Now()
	o.gone(t, "shell")
	if took := time.Since(begun); took > time.Second {
		t.Errorf("the end took %v", took)
	}
	history, err := os.ReadFile(filepath.Join(o.dir, "homes", "alice", "shell", ".bash_history"))
	if err != nil || !strings.Contains(string(history), "echo login") {
		t.Errorf("the shell has not kept its history: %q, %v", history, err)
	}
}

// A variable is there once, or programs would differ on its value, and the
// template does not change what the session is.
func TestOwnEnvironmentIsUnambiguous(t *testing.T) {
	o := open(t, process.Config{Dir: t.TempDir()})
	spec := terminal(one("clear"), "sleep", "1000")
	spec.Template.Spec.Env = []models.EnvVar{{Name: "LANG", Value: "de_DE.UTF-8"}, {Name: "HOME", Value: "/evil"},
		{Name: "STREAMSPACE_SESSION", Value: "another"}, {Name: "TWICE", Value: "1"}, {Name: "TWICE", Value: "2"}}
	o.start(t, spec)
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", o.processOf(t, "clear", "sleep")))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for setting := range strings.SplitSeq(strings.TrimRight(string(environment), "\x00"), "\x00") {
		name, value, _ := strings.Cut(setting, "=")
		if _, twice := seen[name]; twice {
			err = errors.Join(err, fmt.Errorf("%s is set twice", name))
		}
		seen[name] = value
	}
	if err != nil {
		t.Error(err)
	}
	if seen["LANG"] != "de_DE.UTF-8" || seen["TWICE"] != "2" || seen["HOME"] == "/evil" || seen["STREAMSPACE_SESSION"] != "clear" {
		t.Errorf("the environment is %v", seen)
	}
	for _, name := range []string{"PATH", "SHELL", "TERM", "USER", "LOGNAME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"} {
		if seen[name] == "" {
			t.Errorf("%s is not set", name)
		}
	}
}
