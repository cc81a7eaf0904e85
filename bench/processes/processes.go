// Package processes runs the programs of a benchmark, tells what processor time
// they take, and ends them.
package processes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stopWithin is what an orderly end may take before the process is killed.
	stopWithin = 20 * time.Second
	// drainWithin bounds the wait for output after the end: a session that
	// outlives its program may hold the program's pipes.
	drainWithin = time.Second
)

// Command is what to run.
type Command struct {
	Path      string
	Arguments []string
	// Env is added to this process's environment.
	Env []string
	// Dir is the working directory; this process's by default.
	Dir string
	// UID runs the program as another user, which root may; 0 does not.
	UID uint32
	// OnlyEnv keeps this process's environment out: Env is all of it.
	OnlyEnv bool
}

// Owner runs programs and ends them all. The zero value is ready. Safe for
// concurrent use.
type Owner struct {
	mu      sync.Mutex
	running []*Process
}

// Process is one running program with all processes of its group, which end
// with it. Safe for concurrent use.
type Process struct {
	name    string
	command *exec.Cmd
	out     *output
	log     *output
	exited  chan struct{}
}

// Start runs a program in a process group of its own: Ctrl-C at the terminal
// reaches the benchmark alone, which then ends everything in order.
func (o *Owner) Start(command Command) (*Process, error) {
	p := &Process{name: command.name(), command: exec.Command(command.Path, command.Arguments...),
		out: newOutput(), log: newOutput(), exited: make(chan struct{})}
	p.command.Env = command.Env
	if !command.OnlyEnv {
		p.command.Env = append(os.Environ(), command.Env...)
	}
	p.command.Dir = command.Dir
	p.command.Stdout, p.command.Stderr = p.out, p.log
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if command.UID != 0 {
		p.command.SysProcAttr.Credential = &syscall.Credential{Uid: command.UID, Gid: command.UID}
	}
	p.command.WaitDelay = drainWithin
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go p.wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.running = append(o.running, p)
	return p, nil
}

// name is how errors call the program.
func (c Command) name() string {
	words := append([]string{c.Path}, c.Arguments...)
	return strings.Join(words[:min(3, len(words))], " ")
}

// wait ends the group with its leader. The leader is not reaped before, so that
// the group's number cannot be anybody else's.
func (p *Process) wait() {
	defer close(p.exited)
	for {
		err := unix.Waitid(unix.P_PID, p.PID(), nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // the group may be empty but for the leader
	_ = p.command.Wait()                        // the status is in ProcessState
}

// Stop ends everything that still runs, the newest first.
func (o *Owner) Stop() error {
	o.mu.Lock()
	running := o.running
	o.running = nil
	o.mu.Unlock()
	var errs []error
	for _, p := range slices.Backward(running) {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}

// PID is the number of the process and of its group.
func (p *Process) PID() int { return p.command.Process.Pid }

// Log gives the newest part of what the program wrote to stderr.
func (p *Process) Log() string { return p.log.String() }

// Line waits for the first line of stdout that has text.
func (p *Process) Line(ctx context.Context, text string) (string, error) {
	for {
		line, more := p.out.line(text)
		if more == nil {
			return line, nil
		}
		select {
		case <-more:
		case <-p.exited:
			if line, more := p.out.line(text); more == nil {
				return line, nil
			}
			return "", fmt.Errorf("%s ended before it printed %q (%v):\n%s", p.name, text, p.command.ProcessState, p.Log())
		case <-ctx.Done():
			return "", fmt.Errorf("%s did not print %q: %w\n%s", p.name, text, ctx.Err(), p.Log())
		}
	}
}

// Exited is closed when the program and its group have ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop asks the group to end, and kills it when that takes over 20 s. A program
// that has ended already is no error; one that had to be killed is.
func (p *Process) Stop() error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGTERM) // it may be ending
	patience := time.NewTimer(stopWithin)
	defer patience.Stop()
	select {
	case <-p.exited:
		return nil
	case <-patience.C:
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // likewise
	<-p.exited
	return fmt.Errorf("%s had to be killed: it did not stop within %v", p.name, stopWithin)
}
