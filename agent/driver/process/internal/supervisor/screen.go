package supervisor

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/agent/driver/process/internal/xdisplay"
	"github.com/streamspace/streamspace/models"
)

// ServerCommand is the X server that serves a screen by RFB.
const ServerCommand = "Xvnc"

const (
	// displayTries is how many displays are tried when other servers get there
	// first.
	displayTries = 20
	// lookEvery is how often a server that is starting is looked at. It takes
	// about 6 ms to listen.
	lookEvery = 300 * time.Microsecond
)

// serverTmp is where X servers put the files of a display, in the session's
// view of the file system.
const serverTmp = "/tmp"

func (s *supervisor) displayName() string { return ":" + strconv.Itoa(s.display.Number) }

// startScreen starts an X server and waits until it accepts viewers.
func (s *supervisor) startScreen() *runtimedir.Problem {
	log, err := newOutputLog()
	if err != nil {
		return unavailable("open the log of the session's programs", err)
	}
	s.output = log
	cookie := filepath.Join(runtimedir.RunDir, runtimedir.Xauthority)
	if err := xdisplay.WriteXauthority(cookie); err != nil {
		return unavailable("protect the screen", err)
	}
	if err := s.own(cookie); err != nil {
		return unavailable("protect the screen", err)
	}
	if err := xdisplay.MakeSocketDir(serverTmp); err != nil {
		return unavailable("make room for the screen", err)
	}
	for range displayTries {
		again, problem := s.startServer()
		if problem != nil {
			return problem
		}
		if !again {
			return nil
		}
	}
	return unavailable("find a free display", fmt.Errorf("%d were taken by others", displayTries))
}

// startServer starts an X server on some display and waits until it accepts
// viewers. Another server may have the display, although that was free when we
// looked; then it is to be tried again.
func (s *supervisor) startServer() (again bool, problem *runtimedir.Problem) {
	reservation, err := xdisplay.Reserve(func(number int) bool { return xdisplay.InUse(serverTmp, number) })
	if err != nil {
		return false, unavailable("find a free display", err)
	}
	s.display = reservation
	s.state.Display = reservation.Number
	if err := s.record(false); err != nil {
		return false, unavailable("record the session", err)
	}
	path, err := s.find(ServerCommand)
	if err != nil {
		return false, cannotRun(ServerCommand, err)
	}
	output := s.output.source()
	s.screenOutput = output
	s.screen, err = s.launch(path, []string{
		ServerCommand, s.displayName(),
		"-SecurityTypes", "None", "-AlwaysShared",
		// No TCP port, no abstract socket; the relative name keeps within the
		// 107 bytes of a socket's name.
		"-rfbport", "-1", "-rfbunixpath", runtimedir.ScreenSocket, "-nolisten", "tcp", "-nolisten", "local",
		"-auth", runtimedir.Xauthority,
		"-geometry", s.assignment.Geometry, "-depth", "24", "-FrameRate", frameRate,
		// All viewers come by the same socket: one that leaves early would have
		// the others refused.
		"-UseBlacklist=0",
		"-noreset",
	}, runtimedir.RunDir, output)
	if err != nil {
		return false, cannotRun(ServerCommand, err)
	}
	problem = s.await(s.screen, func() bool { return accepts(filepath.Join(runtimedir.RunDir, runtimedir.ScreenSocket)) })
	if problem == nil {
		return false, nil
	}
	if !s.screen.ended() {
		return false, problem
	}
	output.drain(outputWithin)
	said := output.tail()
	if strings.Contains(said, "already active for display") {
		s.display.Release()
		return true, nil
	}
	return false, &runtimedir.Problem{Code: models.CodeRuntimeExited, Retryable: true,
		Message: "the session's X server " + describe(s.screen.status) + " before it served the screen" + quoted(said)}
}

// frameRate is how often a second a viewer's picture is brought up to date at
// most. A change shows half a frame later at the soonest.
const frameRate = "60"

// accepts tells whether a server listens at path.
func accepts(path string) bool {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// await waits until ready gives true. It is a problem when the process ends
// before, or when the agent does not want the session any more.
func (s *supervisor) await(process *child, ready func() bool) *runtimedir.Problem {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-process.done:
			return &runtimedir.Problem{Code: models.CodeRuntimeExited, Message: "it has ended"}
		case <-s.abandoned:
			return gone()
		case <-look.C:
			if ready() {
				return nil
			}
		}
	}
}
