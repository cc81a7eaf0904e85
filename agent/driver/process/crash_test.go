package process_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// asAgent makes a run of this test binary an agent on the directory that it
// names.
const asAgent = "STREAMSPACE_TEST_AGENT"

// sharedMounts makes such an agent one whose mounts are shared, in a namespace
// of the test's.
const sharedMounts = "STREAMSPACE_TEST_SHARED_MOUNTS"

// crowd are the sessions that agentProcess starts at once.
const crowd = 5

func crowdSpec(i int) driver.Spec {
	ref := one(fmt.Sprintf("crowd-%d", i))
	switch i {
	case 0:
		return screen(ref, "sleep", "1000")
	case 1:
		spec := terminal(ref, "sh")
		spec.PersistentHome = true
		return spec
	}
	return terminal(ref, "sh")
}

// agentProcess starts sessions, says so and waits to be killed.
func agentProcess(dir string) {
	if os.Getenv(sharedMounts) != "" {
		if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
			panic(err)
		}
	}
	d, err := process.New(process.Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	exits, err := d.Exits(context.Background())
	if err != nil {
		panic(err)
	}
	fmt.Println("starting")
	var starting sync.WaitGroup
	for i := range crowd {
		starting.Go(func() {
			if _, err := d.Start(context.Background(), crowdSpec(i)); err != nil {
				fmt.Println("failed", i, err)
			}
		})
	}
	starting.Wait()
	fmt.Println("started")
	for exit := range exits {
		fmt.Println(exit)
	}
}

// agent runs agentProcess and gives what it says.
func agent(t *testing.T, dir string, environment ...string) (command *exec.Cmd, says *bufio.Scanner) {
	t.Helper()
	command = exec.Command("/proc/self/exe")
	command.Env = append(append(os.Environ(), asAgent+"="+dir), environment...)
	if len(environment) > 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return command, bufio.NewScanner(output)
}

func says(t *testing.T, scanner *bufio.Scanner, want string) {
	t.Helper()
	if !scanner.Scan() || scanner.Text() != want {
		t.Fatalf("the agent says %q, not %q: %v", scanner.Text(), want, scanner.Err())
	}
}

func kill(t *testing.T, command *exec.Cmd) {
	t.Helper()
	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = command.Wait() // it says that it was killed
}

// Whatever moment of its starts an agent dies at: the next one finds each
// session running, or nothing of it.
func TestOwnAgentDiesWhileStarting(t *testing.T) {
	has(t, "Xvnc")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	moments := rand.New(rand.NewPCG(seed, 0))
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		o := open(t, process.Config{Dir: t.TempDir()})
		dying, output := agent(t, o.dir)
		says(t, output, "starting")
		<-time.After(time.Duration(moments.Int64N(int64(80 * time.Millisecond)))) // the fault's moment
		kill(t, dying)

		ctx, cancel := context.WithCancel(context.Background())
		exits, err := o.Exits(ctx)
		if err != nil {
			t.Fatal(err)
		}
		running := 0
		for i := range crowd {
			running += o.settled(t, crowdSpec(i).SessionID)
		}
		t.Logf("round %d: %d run", round, running)
		// Starting them all again is the same as before for those that run.
		for i := range crowd {
			o.start(t, crowdSpec(i))
		}
		for i := range crowd {
			o.gone(t, crowdSpec(i).SessionID)
		}
		cancel()
		for exit := range exits {
			t.Errorf("an exit is delivered of what nobody saw running, or was stopped: %+v", exit)
		}
	}
}

// settled waits until a session either runs, which is 1, or is not there.
func (o *opened) settled(t *testing.T, sessionID string) (running int) {
	t.Helper()
	program.Eventually(t, sessionID+" runs, or nothing is there", 30*time.Second, func() error {
		inventory, err := o.Inventory(t.Context())
		if err != nil {
			return err
		}
		if slices.ContainsFunc(inventory, func(r driver.Runtime) bool { return r.SessionID == sessionID }) {
			conn, err := o.Dial(t.Context(), one(sessionID))
			if err == nil {
				running, err = 1, conn.Close()
			}
			return err
		}
		if left := o.Left(t, sessionID); len(left) > 0 {
			return errors.New(strings.Join(left, "\n"))
		}
		return nil
	})
	return running
}

// Sessions and their supervisors have nothing to do with the agent's process
// group, its terminal or its life.
func TestOwnSessionsOutliveTheAgent(t *testing.T) {
	has(t, "Xvnc")
	o := open(t, process.Config{Dir: t.TempDir()})
	dying, output := agent(t, o.dir)
	says(t, output, "starting")
	says(t, output, "started")
	for i := range crowd {
		for _, pid := range program.ProcessesOf(t, o.in(crowdSpec(i).SessionID)) {
			session, err := unix.Getsid(pid)
			own, ownErr := unix.Getsid(0)
			if err != nil || ownErr != nil || session == own {
				t.Errorf("process %d is in the agent's session %d: %v", pid, own, err)
			}
		}
	}
	kill(t, dying)
	inventory, err := o.Inventory(t.Context())
	if err != nil || len(inventory) != crowd {
		t.Errorf("of %d sessions there are %v, %v", crowd, inventory, err)
	}
	// The supervisor that was kept ready for the next session has ended.
	program.Eventually(t, "there are as many supervisors as sessions", 30*time.Second, func() error {
		supervisors := 0
		tree := program.ProcessesOf(t, o.dir)
		for _, pid := range tree {
			if strings.Contains(program.Describe([]int{pid}), " "+process.SuperviseCommand+" ") {
				supervisors++
			}
		}
		if supervisors != crowd {
			return fmt.Errorf("there are %d:\n%s", supervisors, program.Describe(tree))
		}
		return nil
	})
	for i := range crowd {
		o.gone(t, crowdSpec(i).SessionID)
	}
}

// What a crash may leave of a start that had only begun.
func TestOwnHalfMadeRuntimes(t *testing.T) {
	for name, begin := range map[string]func(dir string) error{
		"an empty directory": func(string) error { return nil },
		"no supervisor yet":  func(dir string) error { return os.Mkdir(filepath.Join(dir, runtimedir.HomeDir), 0o700) },
		"a spoilt state": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "state.json"), []byte("{\"sess"), 0o600)
		},
		"a dead socket": func(dir string) error {
			// By a short name: sockets have 107 bytes for theirs.
			at, err := os.Open(dir)
			if err != nil {
				return err
			}
			defer func() { _ = at.Close() }()
			listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", at.Fd(), runtimedir.ControlSocket)})
			if err != nil {
				return err
			}
			listener.SetUnlinkOnClose(false)
			return listener.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t, process.Config{Dir: t.TempDir()})
			prepare := func() {
				t.Helper()
				if err := os.Mkdir(o.in("half"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := begin(o.in("half")); err != nil {
					t.Fatal(err)
				}
			}
			prepare()
			if inventory, err := o.Inventory(t.Context()); err != nil || len(inventory) != 0 {
				t.Errorf("the inventory is %v, %v", inventory, err)
			}
			var told *models.Error
			if _, err := o.Dial(t.Context(), one("half")); !errors.As(err, &told) || told.Code != models.CodeSessionNotRunning {
				t.Errorf("dialling says %v", err)
			}
			o.gone(t, "half")
			prepare()
			o.start(t, terminal(one("half"), "sh"))
			o.gone(t, "half")

			prepare()
			ctx, cancel := context.WithCancel(t.Context())
			exits, err := o.Exits(ctx)
			if err != nil {
				t.Fatal(err)
			}
			program.Eventually(t, "it is swept", 30*time.Second, func() error {
				if left := o.Left(t, "half"); len(left) > 0 {
					return errors.New(strings.Join(left, "\n"))
				}
				return nil
			})
			cancel()
			for exit := range exits {
				t.Errorf("what never ran has ended: %+v", exit)
			}
		})
	}
}

// An agent that dies while it stops a session leaves a mark, and the next one
// does not take the session's end for news.
func TestOwnStopThatWasNotFinished(t *testing.T) {
	o := open(t, process.Config{Dir: t.TempDir()})
	o.Kill(t, o.start(t, terminal(one("half-stopped"), "sh")))
	if err := os.WriteFile(o.in("half-stopped", runtimedir.StoppingMark), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	exits, err := o.Exits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	program.Eventually(t, "what is left is removed", 30*time.Second, func() error {
		if left := o.Left(t, "half-stopped"); len(left) > 0 {
			return errors.New(strings.Join(left, "\n"))
		}
		return nil
	})
	cancel()
	for exit := range exits {
		t.Errorf("the end is told: %+v", exit)
	}
}

// A supervisor that does not react is ended all the same.
func TestOwnStuckSupervisor(t *testing.T) {
	o := open(t, process.Config{Dir: t.TempDir(), StopGrace: 10 * time.Millisecond})
	started := o.start(t, terminal(one("stuck"), "sh"))
	if err := syscall.Kill(started.Metadata["supervisorPid"].(int), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	o.gone(t, "stuck")
}

// The lock on a persistent home goes with the supervisor; what it leaves
// running must not use the home beside the next session, nor be ended with it.
func TestOwnHomeOfAKilledSupervisor(t *testing.T) {
	config := process.Config{Dir: passableDir(t), NoNamespaces: true}
	if os.Geteuid() != 0 {
		config.Dir = t.TempDir()
	}
	o := open(t, config)
	keeping := func(sessionID, script string) driver.Spec {
		spec := terminal(one(sessionID), "sh", "-c", script)
		spec.PersistentHome = true
		return spec
	}
	const daemon = "(trap '' TERM HUP; setsid sh -c 'while :; do echo x >> tick; sleep 0.01; done' </dev/null >/dev/null 2>&1 &)"
	first := o.start(t, keeping("first", daemon+"; sleep 1000"))
	home := filepath.Join(o.dir, "homes", "alice", "shell")
	program.Eventually(t, "the daemon writes", 30*time.Second, func() error {
		_, err := os.Stat(filepath.Join(home, "tick"))
		return err
	})
	o.Kill(t, first)
	program.Eventually(t, "the home is free", 30*time.Second, func() error {
		_, err := o.Start(program.Limit(t), keeping("second", "sleep 1000"))
		return err
	})
	before, err := os.ReadFile(filepath.Join(home, "tick"))
	if err != nil {
		t.Fatal(err)
	}
	if left := program.ProcessesOf(t, o.in("first")); len(left) > 0 {
		t.Errorf("the first session's processes run on:\n%s", program.Describe(left))
	}
	// Removing the first does the second no harm, though both have one user.
	o.gone(t, "first")
	after, err := os.ReadFile(filepath.Join(home, "tick"))
	if err != nil || len(after) != len(before) {
		t.Errorf("the home had %d bytes of ticks and has %d, %v", len(before), len(after), err)
	}
	inventory, err := o.Inventory(t.Context())
	if err != nil || len(inventory) != 1 || inventory[0].SessionID != "second" {
		t.Errorf("the inventory is %v, %v", inventory, err)
	}
	o.processOf(t, "second", "sleep")
}

// Descriptors that the agent inherited without knowing are not held open by
// supervisors, which outlive it, nor given to sessions.
func TestOwnForeignDescriptors(t *testing.T) {
	o := open(t, process.Config{Dir: t.TempDir()})
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], 0); err != nil {
		t.Fatal(err)
	}
	reader := os.NewFile(uintptr(pipe[0]), "pipe")
	defer func() { _ = reader.Close() }()
	o.start(t, terminal(one("heir"), "sh"))
	if err := unix.Close(pipe[1]); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, reader)
		over <- err
	}()
	select {
	case err := <-over:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the session holds the agent's pipe open")
		_ = reader.Close()
	}
}
