package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process/internal/proctable"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/agent/driver/process/internal/xdisplay"
	"github.com/streamspace/streamspace/models"
)

const (
	// stopSlack is what a supervisor may take beyond the grace of programs to
	// end everything and itself.
	stopSlack = 8 * time.Second
	// sweepWithin bounds the wait for processes that were killed, and for those
	// that still write to a directory that is to be removed.
	sweepWithin = 5 * time.Second
)

// Stop implements driver.Driver. An error means that something is left; what
// has begun to end goes on ending, and stopping again finishes it.
func (d *Driver) Stop(ctx context.Context, ref driver.Ref) error {
	release, err := d.turns.Take(ctx, ref.SessionID)
	if err != nil {
		return stopError(err)
	}
	defer release()
	all, err := d.of(ref.SessionID)
	if err != nil {
		return stopError(err)
	}
	for _, runtime := range all {
		if runtime.Generation > ref.Generation {
			continue
		}
		if err := d.end(ctx, runtime.name); err != nil {
			return stopError(err)
		}
	}
	return nil
}

func stopError(err error) error {
	return &models.Error{Code: models.CodeUnavailable, Retryable: true, Err: err,
		Message: "the agent's machine could not end all of the session yet; stop it again"}
}

// of lists the runtimes of one session.
func (d *Driver) of(sessionID string) ([]found, error) {
	all, err := d.list()
	if err != nil {
		return nil, err
	}
	var own []found
	for _, candidate := range all {
		if candidate.SessionID == sessionID {
			own = append(own, candidate)
		}
	}
	return own, nil
}

// replace ends the runtimes of older generations. It gives the one of this
// generation if it runs. The caller has the session's turn.
func (d *Driver) replace(ctx context.Context, ref driver.Ref) (*driver.Runtime, error) {
	all, err := d.of(ref.SessionID)
	if err != nil {
		return nil, err
	}
	var running *driver.Runtime
	for _, other := range all {
		switch {
		case other.Generation > ref.Generation:
			return nil, models.Errorf(models.CodeTransitionIllegal, "the session %s already is in generation %d, which is newer than %d",
				ref.SessionID, other.Generation, ref.Generation)
		case other.Generation < ref.Generation:
			err = d.end(ctx, other.name)
		default:
			running, err = d.resume(ctx, other.name)
		}
		if err != nil {
			return nil, err
		}
	}
	return running, nil
}

// resume gives the runtime if its start has succeeded, and removes what is
// left of it otherwise.
func (d *Driver) resume(ctx context.Context, name string) (*driver.Runtime, error) {
	alive, err := d.connect(ctx, name)
	if err != nil {
		return nil, err
	}
	state, err := runtimedir.Read(d.dir(name))
	if alive != nil {
		defer alive.close()
		if err == nil && state.Ready {
			running := runtime(state, alive.pid)
			return &running, nil
		}
	}
	switch {
	case err != nil:
		return nil, err
	case alive == nil && state.Ready:
		// It has run: running it again would be a second effect of one start.
		return nil, &models.Error{Code: models.CodeRuntimeExited, Message: d.lastWords(state).Reason}
	}
	return nil, d.end(ctx, name)
}

// end stops a runtime and removes it. The caller has the session's turn.
func (d *Driver) end(ctx context.Context, name string) error {
	dir := d.dir(name)
	// The mark keeps the end from being told as news if this agent dies before
	// the directory is gone.
	mark, err := os.OpenFile(filepath.Join(dir, runtimedir.StoppingMark), os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		err = mark.Close()
	}
	if err != nil {
		return fmt.Errorf("mark the session as stopping: %w", err)
	}
	alive, err := d.connect(ctx, name)
	if err != nil {
		return err
	}
	if alive != nil {
		err := d.endSupervisor(ctx, name, alive)
		alive.close()
		if err != nil {
			return err
		}
	}
	state, err := runtimedir.Read(dir)
	if err != nil {
		return err
	}
	return d.remove(ctx, name, state)
}

// endSupervisor asks a supervisor to end the session and itself, and ends it
// when it does not.
func (d *Driver) endSupervisor(ctx context.Context, name string, alive *link) error {
	patience, cancel := context.WithTimeout(ctx, d.config.StopGrace+stopSlack)
	defer cancel()
	_, err := alive.conn.Write([]byte(runtimedir.StopRequest))
	if err == nil {
		err = alive.ended(patience)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		d.config.Logger.Warn("a supervisor does not end, and is killed", "runtime", name, "error", err)
		if err := alive.handle.Kill(); err != nil {
			return err
		}
	}
	return alive.handle.Wait(ctx)
}

// remove ends whatever a supervisor that is gone has left, and removes the
// runtime's directory. The caller has the session's turn.
func (d *Driver) remove(ctx context.Context, name string, state runtimedir.State) error {
	d.children.reap(name)
	if err := d.endProcesses(ctx, name, state); err != nil {
		return err
	}
	return d.removeFiles(ctx, name, state)
}

// removeFiles removes what is on disk of a runtime of which nothing runs.
func (d *Driver) removeFiles(ctx context.Context, name string, state runtimedir.State) error {
	if state.Display != 0 && !state.Isolated {
		if err := xdisplay.RemoveFiles("/tmp", state.Display); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, sweepWithin)
	defer cancel()
	return removeTree(ctx, d.dir(name))
}

// endProcesses ends processes that no supervisor looks after any more, and
// removes their control group.
func (d *Driver) endProcesses(ctx context.Context, name string, state runtimedir.State) error {
	if state.Home != "" {
		release, err := d.homeTurns.Take(ctx, state.Home)
		if err != nil {
			return err
		}
		defer release()
		return d.sweepHome(ctx, name, state)
	}
	return d.sweep(ctx, name, state)
}

// sweepHome is endProcesses for a caller that has the turn of the runtime's
// home.
func (d *Driver) sweepHome(ctx context.Context, name string, state runtimedir.State) error {
	used, err := homeUsed(state.Home)
	if err != nil {
		return err
	}
	if used {
		// The home's user has another session by now, which had what this one
		// left of its user's processes ended first, or is another agent's.
		state.UID = 0
	}
	return d.sweep(ctx, name, state)
}

// sweep is endProcesses for a caller that has the home's turn, or if the user
// is in use by no other session.
func (d *Driver) sweep(ctx context.Context, name string, state runtimedir.State) error {
	ref, _ := runtimedir.Parse(name)
	marks := runtimedir.Marks(ref.SessionID, d.dir(name))
	ctx, cancel := context.WithTimeout(ctx, sweepWithin)
	defer cancel()
	err := proctable.End(ctx, func(process proctable.Process) bool {
		return state.UID != 0 && proctable.HasUser(process.PID, state.UID) || proctable.HasEnvironment(process.PID, marks...) ||
			state.Spare != "" && proctable.HasEnvironment(process.PID, runtimedir.Marks("", d.dir(state.Spare))...)
	})
	return errors.Join(err, state.Group.Remove(ctx))
}

// removeTree is os.RemoveAll also where somebody still writes, such as the
// supervisor of a start that was given up before it listened, and where a
// session has taken the right to write from its own directories, as Go does
// with its module cache.
func removeTree(ctx context.Context, dir string) error {
	for {
		err := os.RemoveAll(dir)
		if errors.Is(err, fs.ErrPermission) {
			err = errors.Join(makeWritable(dir), os.RemoveAll(dir))
		}
		if !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// makeWritable gives the owner every right to the directories of a tree.
func makeWritable(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if entry == nil || !entry.IsDir() {
			return nil
		}
		// WalkDir tells of a directory before it reads it, and again if it could
		// not read it.
		if err == nil {
			return os.Chmod(path, 0o700)
		}
		return err
	})
}

func stopping(dir string) bool { return exists(filepath.Join(dir, runtimedir.StoppingMark)) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
