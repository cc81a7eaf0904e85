package process

import (
	"context"
	"path/filepath"
	"time"

	"github.com/streamspace/streamspace/agent/driver/process/internal/cgroup"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
)

const (
	// spareAfter is how long the machine is left to a session that has just
	// started before the next one is made ready for.
	spareAfter = 250 * time.Millisecond
	// discardWithin bounds the end of a screen that nobody will use.
	discardWithin = 15 * time.Second
)

// spares wait for sessions while Exits is called, which is as long as the agent
// runs: a supervisor, and on a machine with an X server another one that has
// its screen up already. Starting a Go program of this size takes some 5 ms,
// and an X server 35, for which a start should not wait. Spares that lose their
// agent end by themselves.
type spares struct {
	// bare and screen are nil when there is none; the driver's lock guards them.
	bare, screen *child
	// geometry is that of the last screen that was asked for: people keep to
	// theirs.
	geometry string
	// taken asks for others.
	taken chan struct{}
}

// keepSpares has spares ready until ctx ends.
func (d *Driver) keepSpares(ctx context.Context, s *spares) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			d.mu.Lock()
			bare, screen := s.bare, s.screen
			s.bare, s.screen = nil, nil
			d.mu.Unlock()
			d.discard(ctx, bare)
			d.discard(ctx, screen)
			return
		case <-s.taken:
			timer.Reset(spareAfter)
		case <-timer.C:
			d.renewSpares(ctx, s)
		}
	}
}

// renewSpares replaces those that were taken, have ended or do not fit.
func (d *Driver) renewSpares(ctx context.Context, s *spares) {
	isolated := d.isolates()
	stale := func(spare **child, geometry string) *child {
		d.mu.Lock()
		defer d.mu.Unlock()
		old := *spare
		if old != nil && !old.fits(isolated, geometry) {
			*spare = nil
			return old
		}
		return nil
	}
	fill := func(spare **child, prepare func() (*child, error)) {
		d.mu.Lock()
		there := *spare != nil
		d.mu.Unlock()
		if there {
			return
		}
		prepared, err := prepare()
		if err != nil {
			// Starts will say so when it matters.
			d.config.Logger.Debug("nothing can be made ready for the next session", "error", err)
			return
		}
		d.mu.Lock()
		*spare = prepared
		d.mu.Unlock()
	}
	d.mu.Lock()
	geometry := s.geometry
	d.mu.Unlock()
	d.discard(ctx, stale(&s.bare, ""))
	fill(&s.bare, func() (*child, error) { return d.spawn(isolated) })
	d.discard(ctx, stale(&s.screen, geometry))
	if _, installed := look(d.config.Path, screenServer.Command); installed {
		fill(&s.screen, func() (*child, error) { return d.spareScreen(ctx, isolated, geometry) })
	}
}

// fits tells whether a spare will do for sessions of that kind; a screen's has a
// geometry.
func (c *child) fits(isolated bool, geometry string) bool {
	return c.isolated == isolated && !c.handle.Ended() && (c.begun == nil || c.begun.Geometry == geometry)
}

// spareScreen brings up the screen of a session that is not known yet.
func (d *Driver) spareScreen(ctx context.Context, isolated bool, geometry string) (_ *child, err error) {
	name := runtimedir.SpareName()
	assignment := runtimedir.Assignment{
		Dir: d.dir(name), Spare: true, Geometry: geometry,
		State: runtimedir.State{Protocol: models.ProtocolVNC, Isolated: isolated},
		Login: "nobody", Path: d.config.Path, Lang: d.lang, Shell: d.shell,
		Cgroups: d.cgroups, Limits: cgroup.Limits{Processes: maxProcesses}, StopGrace: d.config.StopGrace,
	}
	if d.root {
		assignment.State.UID = d.chooseUser("")
	}
	started, err := d.spawn(isolated)
	if err != nil {
		return nil, err
	}
	started.begun = &assignment
	defer func() {
		if err != nil {
			d.discard(ctx, started)
		}
	}()
	if err := d.makeDir(assignment.Dir, nil); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, d.config.StartTimeout)
	defer cancel()
	problem, err := started.assign(limited, assignment)
	if problem != nil {
		err = d.told(name, problem)
	}
	return started, err
}

// supervisor gives one that waits for the assignment.
func (d *Driver) supervisor(plan runtimedir.Assignment) (*child, error) {
	if ready := d.takeSpare(plan); ready != nil {
		return ready, nil
	}
	return d.spawn(plan.State.Isolated)
}

// takeSpare gives the best spare there is, or none. A persistent home has a
// user already, which is not that of the screen.
func (d *Driver) takeSpare(plan runtimedir.Assignment) *child {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watch == nil {
		return nil
	}
	s := &d.watch.spares
	from := &s.bare
	if plan.State.Protocol == models.ProtocolVNC {
		s.geometry = plan.Geometry
		if plan.State.Home == "" && s.screen != nil && s.screen.fits(plan.State.Isolated, plan.Geometry) {
			from = &s.screen
		}
	}
	select {
	case s.taken <- struct{}{}:
	default:
	}
	ready := *from
	if ready == nil || !ready.fits(plan.State.Isolated, plan.Geometry) {
		return nil
	}
	*from = nil
	return ready
}

// discard ends a spare, if there is one, and what it has begun.
func (d *Driver) discard(ctx context.Context, spare *child) {
	switch {
	case spare == nil:
	case spare.begun == nil:
		_ = spare.handle.Kill() // it has nothing to clean up
		spare.reap()
	default:
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardWithin)
		defer cancel()
		name := filepath.Base(spare.begun.Dir)
		d.children.put(name, spare)
		if err := d.undo(ctx, name, spare); err != nil {
			d.config.Logger.Error("something is left of a screen that was made ready", "runtime", name, "error", err)
		}
	}
}
