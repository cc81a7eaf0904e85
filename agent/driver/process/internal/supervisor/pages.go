package supervisor

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/streamspace/streamspace/agent/driver/health"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
)

// maxSocket is the longest name that a socket can have.
const maxSocket = 107

// askEvery is how often a program that does not answer yet is asked again.
const askEvery = 20 * time.Millisecond

// pagesSocket is where the session's program is to serve, as the session sees it.
func (s *supervisor) pagesSocket() string { return filepath.Join(s.places.run, runtimedir.PagesSocket) }

// startPages starts a program that serves pages, and waits until it does.
func (s *supervisor) startPages() *runtimedir.Problem {
	if socket := s.pagesSocket(); len(socket) > maxSocket {
		return &runtimedir.Problem{Code: models.CodeUnavailable, Message: fmt.Sprintf(
			"the session's socket would be %s, and a socket's name has %d bytes at most; give the agent a shorter --data-dir", socket, maxSocket)}
	}
	log, err := newOutputLog()
	if err != nil {
		return unavailable("open the log of the session's programs", err)
	}
	s.output = log
	if problem := s.startProgram(); problem != nil {
		return problem
	}
	return s.awaitPages()
}

// awaitPages returns once the program is ready, or will not be.
func (s *supervisor) awaitPages() *runtimedir.Problem {
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	defer func() {
		cancel()
		<-ready
	}()
	go func() {
		defer close(ready)
		// The relative name is short enough for a socket anywhere.
		path := filepath.Join(runtimedir.RunDir, runtimedir.PagesSocket)
		ask := time.NewTicker(askEvery)
		defer ask.Stop()
		for health.Ask(ctx, s.assignment.Pages, func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}) != nil {
			select {
			case <-ask.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	select {
	case <-ready:
		return nil
	case <-s.abandoned:
		return gone()
	case <-s.program.done:
	}
	end := s.describeEnd(programEnded)
	return &runtimedir.Problem{Code: models.CodeRuntimeExited, Message: end.Reason + " before it answered at " + models.HTTPSocketEnv}
}
