// Package supervisor is the parent of one session: a process of its own that
// starts the session's programs, serves its terminal, records how it ends and
// outlives the agent that started it.
package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver/process/internal/cgroup"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/agent/driver/process/internal/xdisplay"
	"github.com/streamspace/streamspace/agent/driver/terminal"
	"github.com/streamspace/streamspace/models"
)

// supervisor runs one session. One goroutine, that of Run, does everything but
// what the fields' own types do.
type supervisor struct {
	assignment runtimedir.Assignment
	// assigned delivers what a spare supervisor waits for.
	assigned <-chan runtimedir.Assignment
	state    runtimedir.State
	group    cgroup.Group
	places   places
	// home is an open handle until moveIn.
	home     int
	children *children
	output   *outputLog

	// starter leads to the agent that asked for the start.
	starter *starter
	// abandoned is closed when the agent that asked for the start is gone.
	abandoned <-chan struct{}
	// stops delivers when somebody asks for the session's end.
	stops <-chan struct{}
	// signals are those that ask for this process's end.
	signals chan os.Signal

	display *xdisplay.Reservation
	screen  *child
	program *child
	// What they print, in a session with a screen.
	screenOutput, programOutput *source
	terminal                    *terminal.Terminal
	// shown is closed when the terminal has no more output.
	shown chan struct{}
	pty   *pseudoterminal
}

// Run is the whole life of a supervisor. args are those of the command line,
// for people to read only: what to do comes on runtimedir.StarterFD.
func Run(args []string) int {
	// Parent death signals and no_new_privs belong to a thread: every child is
	// started by this one.
	runtime.LockOSThread()
	// It was started by another name than its own: see process.Config.
	_ = os.WriteFile("/proc/self/comm", []byte("streamspace"), 0) // for people only
	closeForeign()
	syscall.CloseOnExec(runtimedir.StarterFD)
	starter, err := newStarter(runtimedir.StarterFD)
	if err != nil || len(args) == 0 {
		_, _ = fmt.Fprintln(os.Stderr, "supervise is not for people: an agent runs it for each session")
		return 2
	}
	s := &supervisor{starter: starter, children: newChildren(), signals: make(chan os.Signal, 1)}
	signal.Notify(s.signals, unix.SIGTERM, unix.SIGINT)
	// One that the agent ignored would be ignored by the session too; what is
	// handled here, by doing nothing, has its default there.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP)
	agent := json.NewDecoder(starter)
	if err := agent.Decode(&s.assignment); err != nil {
		return 0 // the agent has gone, or has changed its mind
	}
	s.state = s.assignment.State
	s.listen(agent)
	// The agent may have gone meanwhile, which abandoned tells better.
	answer := func(problem *runtimedir.Problem) {
		_ = json.NewEncoder(starter).Encode(runtimedir.Answer{Problem: problem})
	}
	problem := s.begin()
	if problem == nil && s.assignment.Spare {
		answer(nil)
		assignment, assigned := s.standBy()
		if !assigned {
			s.abandon()
			return 0
		}
		problem = s.takeOver(assignment)
	}
	if problem == nil {
		problem = s.start()
	}
	if problem == nil {
		problem = s.becomeReady()
	}
	if problem != nil {
		s.abandon()
	}
	answer(problem)
	if problem != nil {
		return 1
	}
	// Nobody waits for the disk: what a power cut takes with it is the session.
	if err := s.record(true); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
	}
	why := s.wait()
	//failpoint:supervisor-ending
	s.finish(why)
	return 0
}

// closeForeign closes descriptors that whoever started the agent has let it
// inherit: this process would hold them open for as long as the session lasts,
// and the session would have them. They are the ones that exec leaves open.
func closeForeign() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= runtimedir.StarterFD {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

// listen hears what the agent still has to say, and that it is gone.
func (s *supervisor) listen(agent *json.Decoder) {
	assigned, gone := make(chan runtimedir.Assignment, 1), make(chan struct{})
	s.assigned, s.abandoned = assigned, gone
	spare := s.assignment.Spare
	go func() {
		defer close(gone)
		var assignment runtimedir.Assignment
		if spare && agent.Decode(&assignment) == nil {
			assigned <- assignment
		}
		_, _ = io.Copy(io.Discard, s.starter)
	}()
}

// begin brings up what does not depend on who uses it. After a problem
// something may run.
func (s *supervisor) begin() *runtimedir.Problem {
	syscall.Umask(0o022)
	if err := os.Chdir(s.assignment.Dir); err != nil {
		return unavailable("enter the session's directory", err)
	}
	if err := s.control(); err != nil {
		return unavailable("listen for the agent", err)
	}
	if problem := s.given(); problem != nil {
		return problem
	}
	if err := redirectLog(); err != nil {
		return unavailable("open the log", err)
	}
	if problem := s.lockHome(); problem != nil {
		return problem
	}
	s.places = s.arrange()
	s.state.Group = s.assignment.Cgroups.Plan(runtimedir.GroupName(s.assignment.Dir))
	if problem := s.recordBeginning(); problem != nil {
		return problem
	}
	if problem := s.prepare(); problem != nil {
		return problem
	}
	if s.state.Protocol != models.ProtocolVNC {
		return nil
	}
	return s.startScreen()
}

// recordBeginning is due before there is anything that must be found if this
// process is killed.
func (s *supervisor) recordBeginning() *runtimedir.Problem {
	if err := s.record(false); err != nil {
		return unavailable("record the session", err)
	}
	if s.assignment.Spare {
		return nil
	}
	//failpoint:supervisor-recorded
	return nil
}

// start runs the session's program.
func (s *supervisor) start() *runtimedir.Problem {
	switch s.state.Protocol {
	case models.ProtocolTerminal:
		return s.startTerminal()
	case models.ProtocolHTTP:
		return s.startPages()
	}
	return s.startProgram()
}

// abandon ends what has begun and will not be a session.
func (s *supervisor) abandon() {
	s.kill()
	s.cleanUp()
}

// given checks that the agent still waits: once it has gone, the next one
// takes a runtime that is not ready for one that is to be removed.
func (s *supervisor) given() *runtimedir.Problem {
	// Not by abandoned, which may be closed a moment later.
	if s.starter.hungUp() {
		return gone()
	}
	return nil
}

// starter is a socket to whoever asked for a start.
type starter struct {
	net.Conn
	// fd is what Conn is a copy of, and file keeps the collector from closing it.
	fd   int
	file *os.File
}

func newStarter(fd int) (*starter, error) {
	file := os.NewFile(uintptr(fd), "starter")
	conn, err := net.FileConn(file)
	return &starter{Conn: conn, fd: fd, file: file}, err
}

// hungUp tells whether the other end is closed.
func (s *starter) hungUp() bool {
	polled := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLRDHUP}}
	for {
		// A signal that is pending, such as the runtime's own, says nothing of it.
		if n, err := unix.Poll(polled, 0); !errors.Is(err, unix.EINTR) {
			return err != nil || n != 0
		}
	}
}

func gone() *runtimedir.Problem {
	return &runtimedir.Problem{Code: models.CodeUnavailable, Retryable: true, Message: "the agent has gone"}
}

// becomeReady makes the session one that any agent can find.
func (s *supervisor) becomeReady() *runtimedir.Problem {
	if problem := s.given(); problem != nil {
		return problem
	}
	if err := s.group.LimitCPU(s.assignment.Limits.CPU); err != nil {
		s.state.Limits[limitCPU] = "none: " + err.Error()
	}
	s.state.Ready = true
	if err := s.record(false); err != nil {
		return unavailable("record the session", err)
	}
	//failpoint:supervisor-ready
	return nil
}

func (s *supervisor) record(durable bool) error { return runtimedir.Write(".", s.state, durable) }

// redirectLog makes the log what this process writes to, panics included: the
// agent's log may end with the agent.
func redirectLog() error {
	log, err := os.OpenFile(runtimedir.SupervisorLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(unix.Dup2(int(log.Fd()), 1), unix.Dup2(int(log.Fd()), 2), log.Close())
}

// unavailable is a problem with the machine rather than with the session.
func unavailable(what string, err error) *runtimedir.Problem {
	return &runtimedir.Problem{
		Code: models.CodeUnavailable, Retryable: true, Detail: err.Error(),
		Message: "the agent's machine could not " + what + "; its administrator finds the cause in the agent's log",
	}
}
