// Package driver is the seam between the agent and the platforms that it runs
// sessions on. Package drivertest holds the one suite that every driver passes.
package driver

import (
	"context"
	"net"
	"time"

	"github.com/streamspace/streamspace/models"
)

// Driver runs sessions on one platform. All methods are safe for concurrent
// use; calls about the same session are serialised by the agent. Errors that a
// user may read are *models.Error.
type Driver interface {
	// Platform is one of the models.Platform… names.
	Platform() string
	// Facilities tells which of needs this machine has, in the same order.
	Facilities(ctx context.Context, needs []string) ([]string, error)
	// Start runs a session and returns once its stream can be dialled. It is
	// idempotent by (session, generation): the runtime's name is made of both,
	// and a runtime that already is there is returned as it is. After an error
	// nothing is left running.
	Start(ctx context.Context, spec Spec) (Runtime, error)
	// Stop ends every runtime of the session whose generation is at most ref's
	// and returns once nothing of it is left: processes, sockets, and the home
	// unless it is persistent. Nothing there is success.
	Stop(ctx context.Context, ref Ref) error
	// Inventory lists every runtime of this agent, also those that an earlier
	// run of the agent started.
	Inventory(ctx context.Context) ([]Runtime, error)
	// Exits delivers each runtime that ended without being stopped, with the
	// reason. The channel is closed when ctx ends. One caller at a time.
	Exits(ctx context.Context) (<-chan Exit, error)
	// Dial connects to the session's stream.
	Dial(ctx context.Context, ref Ref) (net.Conn, error)
}

// ImageHolder is a Driver whose sessions are made of images that its machine may
// have already.
type ImageHolder interface {
	// Images delivers the names of all images that are there, as models.ImageName
	// has them, at once and after each change. The channel is closed when ctx ends.
	Images(ctx context.Context) (<-chan []string, error)
}

// Ref names a runtime: a session in one generation.
type Ref struct {
	SessionID  string
	Generation int64
}

// Spec is all that a driver needs to start a session.
type Spec struct {
	Ref
	User           string
	Template       models.Template
	Resources      models.Resources
	PersistentHome bool
	// Report, if there is one, is told how far the start is. It may be
	// called often, by one goroutine at a time, and drops most of what comes in quick
	// succession, but not the empty progress: that there is nothing more to tell.
	Report func(models.Progress)
}

// Tell reports how far the start is.
func (s Spec) Tell(progress models.Progress) {
	if s.Report != nil {
		s.Report(progress)
	}
}

// TimeLimits are the template's. Only what keeps its home hibernates.
func (s Spec) TimeLimits() models.TimeLimits {
	limits := s.Template.Spec.TimeLimits()
	if limits.OnLimit == models.OnLimitHibernate && !s.PersistentHome {
		limits.OnLimit = models.OnLimitStop
	}
	return limits
}

// Runtime is a session as it runs.
type Runtime struct {
	Ref
	Protocol models.Protocol
	// Starting tells that its start was interrupted before it could be seen to run:
	// starting it again goes on with that.
	Starting  bool
	StartedAt time.Time
	// TimeLimits are those of the Spec that it was started with.
	TimeLimits models.TimeLimits
	// Metadata is shown to people, e.g. the process id or the limits in force.
	Metadata map[string]any
}

// Exit is the end of a runtime that nobody stopped.
type Exit struct {
	Ref
	// Clean tells that the session's own program ended with status 0, as when a
	// person logs out.
	Clean bool
	// Lost tells that nobody was left to say how it ended, as when its machine is
	// restarted.
	Lost   bool
	Reason string
}
