package supervisor

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver/process/internal/proctable"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/agent/driver/process/internal/xdisplay"
)

// killWithin bounds the wait for processes that were killed. Longer than that
// takes only what the kernel itself is stuck on.
const killWithin = 5 * time.Second

// cause is why a session is over.
type cause int

const (
	programEnded cause = iota
	screenEnded
	stopAsked
	supervisorSignalled
)

// wait returns when the session is over or is to be.
func (s *supervisor) wait() cause {
	var screen <-chan struct{}
	if s.screen != nil {
		screen = s.screen.done
	}
	select {
	case <-s.program.done:
		return programEnded
	case <-screen:
		return screenEnded
	case <-s.stops:
		return stopAsked
	case <-s.signals:
		return supervisorSignalled
	}
}

// finish ends what is left of the session, records how it ended, and cleans
// up. The agent removes the rest when this process is gone.
func (s *supervisor) finish(why cause) {
	s.askToEnd()
	s.kill()
	s.closeTerminal()
	if why != stopAsked {
		end := s.describeEnd(why)
		s.state.End = &end
		if err := s.record(true); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
		}
	}
	s.cleanUp()
}

// askToEnd gives programs the time to save what they have: first those that
// use the screen, then the X server.
func (s *supervisor) askToEnd() {
	deadline := time.Now().Add(s.assignment.StopGrace)
	for _, process := range s.processes() {
		if s.screen != nil && process.PID == s.screen.pid {
			continue
		}
		// What has stopped or ended meanwhile does not mind.
		_ = unix.Kill(process.PID, unix.SIGTERM)
		if process.OnTerminal {
			_ = unix.Kill(process.PID, unix.SIGHUP) // shells do not end on SIGTERM
		}
		_ = unix.Kill(process.PID, unix.SIGCONT)
	}
	// Some programs end only with the screen.
	s.children.wait(s.assignment.StopGrace/2, func() bool { return s.onlyScreenLeft() })
	if !s.screen.ended() {
		_ = unix.Kill(s.screen.pid, unix.SIGTERM)
	}
	s.children.wait(time.Until(deadline), s.children.none)
}

func (s *supervisor) onlyScreenLeft() bool {
	if s.children.none() {
		return true
	}
	if s.screen.ended() {
		return false
	}
	left := s.processes()
	return len(left) == 1 && left[0].PID == s.screen.pid
}

// processes lists every process of the session but zombies and this one.
func (s *supervisor) processes() []proctable.Process {
	all, err := proctable.List()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
	}
	return proctable.Descendants(all, os.Getpid())
}

// kill ends every process of the session and waits until all are gone.
func (s *supervisor) kill() {
	deadline := time.Now().Add(killWithin)
	for !s.children.none() && time.Now().Before(deadline) {
		if s.state.Isolated && os.Getpid() == 1 {
			_ = unix.Kill(-1, unix.SIGKILL) // all of this namespace, at once
		} else {
			for _, process := range s.processes() {
				_ = unix.Kill(process.PID, unix.SIGKILL)
			}
		}
		// Children of those that were killed are ours now.
		s.children.wait(10*time.Millisecond, s.children.none)
	}
}

// closeTerminal lets viewers see the last output.
func (s *supervisor) closeTerminal() {
	if s.terminal == nil {
		return
	}
	select {
	case <-s.shown:
	case <-time.After(outputWithin):
	}
	_ = s.pty.Close()
	s.terminal.Close()
}

// cleanUp removes what is outside of the session's directory.
func (s *supervisor) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), killWithin)
	defer cancel()
	if err := s.state.Group.Remove(ctx); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
	}
	if s.display == nil || s.state.Isolated {
		return
	}
	if err := xdisplay.RemoveFiles(serverTmp, s.display.Number); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
	}
}

// describeEnd says in plain words how the session ended by itself.
func (s *supervisor) describeEnd(why cause) runtimedir.End {
	switch {
	case why == supervisorSignalled:
		return runtimedir.End{Reason: "the session was ended from outside of StreamSpace, by a signal to its supervisor"}
	case why == programEnded && s.program.status.Exited() && s.program.status.ExitStatus() == 0:
		return runtimedir.End{Clean: true, Reason: "the session's program has ended"}
	case s.group.MemoryKills() > 0:
		return runtimedir.End{Reason: runtimedir.OutOfMemory(s.state)}
	case why == screenEnded:
		return runtimedir.End{Reason: "the session's X server " + describe(s.screen.status) + quoted(s.lastOutput(s.screenOutput))}
	}
	said := s.lastOutput(s.programOutput)
	return runtimedir.End{Reason: "the session's program " + describe(s.program.status) + quoted(said)}
}

// lastOutput is what the source, or the terminal if there is one, said last.
func (s *supervisor) lastOutput(output *source) string {
	if s.terminal != nil {
		return s.terminal.Tail(tailSize)
	}
	output.drain(outputWithin)
	return output.tail()
}

// describe says how a process ended.
func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "was ended by the signal " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("ended with status %d", status.ExitStatus())
}
