package robustness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// disk is a small file system in memory.
type disk struct {
	t   *testing.T
	dir string
}

// mount puts a disk of 16 MB at dir.
func mount(t *testing.T, dir string) disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "size=16m,mode=711"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		// What was killed a moment ago may work there still.
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return disk{t: t, dir: dir}
}

// fill leaves no room, also once more when something has been removed.
func (d disk) fill() {
	d.t.Helper()
	file, err := os.OpenFile(filepath.Join(d.dir, "filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for page := make([]byte, 4096); err == nil; {
		_, err = file.Write(page)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatalf("the disk is not full: %v", err)
	}
}

// free makes room again.
func (d disk) free() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil {
		d.t.Fatal(err)
	}
}

// fillAgentDisk fills the disk of the agent's journal and sessions.
func fillAgentDisk(t *testing.T, r *report) {
	asRoot(t)
	w := newWorld(t, failpointBinary(t), "")
	full := mount(t, w.agentDir())
	w.faults = newFailpoints(t, w.faults.dir)
	for i := range refusals {
		w.saveTemplate(refused(i), false)
	}
	w.startServer()
	w.startAgent()
	veterans := w.launch(2)
	one := r.begin(t, "the agent's disk is full: launches", w.engine())
	stopping := r.begin(t, "the agent's disk is full: a stop", w.engine())
	before := w.sessions(veterans)
	full.fill()
	w.refuseLaunches(full)
	if len(w.supervisors()) != len(veterans) {
		t.Errorf("a launch that has failed runs: %v", w.supervisors())
	}
	w.untouched(veterans, before)
	// The user of one session has had enough of it.
	runs := w.pids[veterans[0]]
	w.stopping(veterans[:1]).accepted()
	w.reported(veterans[0])
	w.pids[veterans[0]] = runs // as long as it cannot be stopped
	full.free()
	one.over()
	stopping.over()
	w.launch(3)
	one.recovered()
	w.untouched(veterans[1:], before)
	one.held()
	// The next inventory tells of what should not run, at most 66 s later, and
	// the one after it that it is gone.
	w.endedWithin(veterans[:1], 150*time.Second)
	stopping.recovered()
	w.failures = append(w.failures, veterans[0])
	w.gone(veterans[:1])
	w.finish()
	stopping.held()
}

// refusals are enough launches to fill the rest of the journal's last page.
const refusals = 60

// refused is the template of one of these launches. Each has its own: of one that
// an agent keeps failing to start it gets no more for a while.
func refused(i int) string { return fmt.Sprint("refused-", i) }

// refuseLaunches launches until the agent cannot write its journal, which has
// some room left in its last page. Each launch fails and says why.
func (w *world) refuseLaunches(full disk) {
	w.t.Helper()
	api := w.api()
	for i := range refusals {
		full.fill() // a screen that was to wait for the next session may have been given up
		id := w.ids(1)[0]
		w.failures = append(w.failures, id)
		w.ask([]string{id}, func(ctx context.Context, id string) error {
			_, err := api.Launch(ctx, client.LaunchRequest{ID: id, Template: refused(i)})
			return err
		}).accepted()
		var reason string
		program.Eventually(w.t, "session "+id+" fails", recoverWithin, func() error {
			session, err := api.Session(program.Limit(w.t), id)
			if err == nil && session.State != models.SessionFailed {
				err = fmt.Errorf("it is %s", session.State)
			}
			reason = session.Reason
			return err
		})
		if reason == "" {
			w.t.Fatalf("session %s failed without a reason", id)
		}
		w.gone([]string{id})
		if strings.Contains(reason, "journal") {
			w.t.Logf("a launch fails with %q", reason)
			return
		}
	}
	w.t.Fatal("the agent's journal never filled its disk")
}

// reported waits until a session that is to end says why it has not, or has.
func (w *world) reported(id string) {
	w.t.Helper()
	program.Eventually(w.t, "session "+id+" says why it does not end", recoverWithin, func() error {
		session := w.sessions([]string{id})[id]
		if session.State == models.SessionTerminating && session.Reason == "" {
			return errors.New("it is terminating, and says nothing")
		}
		w.t.Logf("a stop: the session is %s: %s", session.State, session.Reason)
		return nil
	})
}

func (w *world) endedWithin(ids []string, within time.Duration) {
	w.t.Helper()
	for _, id := range ids {
		program.Eventually(w.t, "session "+id+" ends", within, func() error {
			if session := w.sessions([]string{id})[id]; session.State != models.SessionTerminated {
				return fmt.Errorf("it is %s: %s", session.State, session.Reason)
			}
			return nil
		})
	}
}

// fillServerDisk fills the disk of the control plane's database.
func fillServerDisk(t *testing.T, r *report) {
	asRoot(t)
	w := newWorld(t, failpointBinary(t), "")
	w.dataDir = filepath.Join(w.dir, "control")
	full := mount(t, w.dataDir)
	w.startServer()
	w.startAgent()
	veterans := w.launch(2)
	one := r.begin(t, "the control plane's disk is full: 1 end under way, 3 launches, 1 stop", w.engine())
	before := w.sessions(veterans)
	ending, starting := w.launch(1), w.ids(1)
	// One becomes ready while that cannot be written.
	w.faults.arm("supervisor-ready", 1, "hold")
	w.launching(starting).accepted()
	ready := w.faults.held("supervisor-ready")
	full.fill()
	ready()
	_, err := w.api().Launch(program.Limit(t), client.LaunchRequest{ID: w.ids(1)[0], Template: "terminal"})
	var problem *client.Problem
	if !errors.As(err, &problem) || problem.Code != models.CodeUnavailable || !problem.Retryable {
		t.Errorf("a launch that cannot be written must say that it can be repeated: %v", err)
	}
	t.Logf("a launch fails with %q", err)
	beginning := w.ids(3)
	launches, stops := w.launching(beginning), w.stopping(ending)
	lasts(3 * time.Second)
	if accepted := launches.count() + stops.count(); accepted > 0 {
		t.Errorf("%d requests were accepted that cannot have been written", accepted)
	}
	full.free()
	one.over()
	launches.accepted()
	stops.accepted()
	w.running(slices.Concat(beginning, starting))
	w.ended(ending)
	one.recovered()
	w.gone(ending)
	w.once(slices.Concat(beginning, starting))
	w.untouched(veterans, before)
	w.finish()
	one.held()
}
