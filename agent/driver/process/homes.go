package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
)

// chooseUser gives the owner of a persistent home that is there, or else one
// of so many users that no two sessions of this machine have the same, agents
// with other directories included.
func (d *Driver) chooseUser(home string) uint32 {
	first, last := d.config.FirstUID, d.config.LastUID
	if info, err := os.Stat(home); home != "" && err == nil {
		if owner, known := info.Sys().(*syscall.Stat_t); known && owner.Uid >= first && owner.Uid <= last {
			return owner.Uid
		}
	}
	return first + rand.Uint32N(last-first+1)
}

// freeHome makes the way to a persistent home, and ends what a supervisor that
// was killed has left running in it: its lock went with the supervisor. A home
// that another session has is an error. Until release is called nobody else
// decides about this home.
func (d *Driver) freeHome(ctx context.Context, home string) (release func(), err error) {
	release, err = d.homeTurns.Take(ctx, home)
	if err != nil {
		return nil, err
	}
	if err := d.clearHome(ctx, home); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (d *Driver) clearHome(ctx context.Context, home string) error {
	// The user's directory is passed by other users if sessions are those.
	if err := os.Mkdir(filepath.Dir(home), d.passable()); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make a persistent home: %w", err)
	}
	all, err := d.list()
	if err != nil {
		return err
	}
	for _, other := range all {
		state, err := runtimedir.Read(d.dir(other.name))
		if err != nil {
			return err
		}
		if state.Home != home {
			continue
		}
		alive, err := d.connect(ctx, other.name)
		if err != nil {
			return err
		}
		if alive != nil {
			alive.close()
			return homeInUse(state)
		}
		if err := d.sweepHome(ctx, other.name, state); err != nil {
			return err
		}
	}
	return nil
}

func homeInUse(holder runtimedir.State) error {
	return &models.Error{Code: models.CodeUnavailable, Retryable: true, Message: fmt.Sprintf(
		"the persistent home of %s for the template %s is in use by the session %s; stop that session first, "+
			"or launch this one without a persistent home",
		holder.User, holder.Template, holder.SessionID)}
}

// homeUsed tells whether a supervisor has the persistent home, be it one of
// another agent that shares it. The caller has the home's turn.
func homeUsed(home string) (bool, error) {
	lock, err := unix.Open(runtimedir.HomeLock(home), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at a persistent home's lock: %w", err)
	}
	defer func() { _ = unix.Close(lock) }()
	err = unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
		return false, fmt.Errorf("look at a persistent home's lock: %w", err)
	}
	return err != nil, nil
}
