package supervisor

import (
	"path/filepath"

	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
)

// standBy waits for the session that will have this screen. It gives none when
// there will be no session, or no screen.
func (s *supervisor) standBy() (assignment runtimedir.Assignment, assigned bool) {
	select {
	case assignment = <-s.assigned:
		return assignment, true
	case <-s.abandoned:
	case <-s.screen.done:
	case <-s.stops:
	case <-s.signals:
	}
	return assignment, false
}

// takeOver makes what has begun that of a session. The agent has renamed the
// directory, which relative names and mounts do not mind.
func (s *supervisor) takeOver(assignment runtimedir.Assignment) *runtimedir.Problem {
	begun, spare := s.state, filepath.Base(s.assignment.Dir)
	s.assignment, s.state = assignment, assignment.State
	s.state.Group, s.state.Display, s.state.Spare = begun.Group, begun.Display, spare
	if problem := s.recordBeginning(); problem != nil {
		return problem
	}
	s.limit()
	s.places = s.arrange()
	if s.state.Isolated {
		if err := s.moveIn(); err != nil {
			return unavailable("give the session a home of its own", err)
		}
	}
	return nil
}
