package drivertest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// exits calls Exits until the function given is called or the test ends.
func (b *bench) exits(t *testing.T) (exits <-chan driver.Exit, cancel func()) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	exits, err := b.driver.Exits(ctx)
	if err != nil {
		stop()
		t.Fatalf("exits: %v", err)
	}
	cancel = func() {
		stop()
		for range exits {
			// Whoever stops listening does not mind what comes.
		}
	}
	t.Cleanup(cancel)
	return exits, cancel
}

func next(t *testing.T, exits <-chan driver.Exit) driver.Exit {
	t.Helper()
	select {
	case exit, open := <-exits:
		if !open {
			t.Fatal("there will be no more exits")
		}
		return exit
	case <-time.After(within):
		t.Fatalf("there was no exit within %v", within)
	}
	panic("unreachable")
}

// eventuallyNothing waits for what is left to be removed after an exit was
// delivered.
func (b *bench) eventuallyNothing(t *testing.T, sessionID string) {
	t.Helper()
	eventually(t, "nothing is left of "+sessionID, func() error {
		if left := b.Left(t, sessionID); len(left) > 0 {
			return errors.New(lines(left))
		}
		return nil
	})
}

func testExits(t *testing.T, b *bench) {
	exits, _ := b.exits(t)
	b.startShell(t, first("content"))
	b.view(t, first("content")).write("exit 0\n")
	if exit := next(t, exits); exit.Ref != first("content") || !exit.Clean || exit.Reason == "" {
		t.Errorf("a clean exit is %+v", exit)
	}
	b.eventuallyNothing(t, "content")
	b.wantRunning(t)

	b.startShell(t, first("upset"))
	b.view(t, first("upset")).write("echo all is lost; exit 3\n")
	if exit := next(t, exits); exit.Ref != first("upset") || exit.Clean || !strings.Contains(exit.Reason, "3") {
		t.Errorf("a failing exit is %+v", exit)
	}
	b.eventuallyNothing(t, "upset")

	// What the program has left running is over with it.
	b.start(t, b.harness.Terminal(first("leaver"), "(setsid sleep 3000 </dev/null >/dev/null 2>&1 &); sleep 0.2; exit 4"))
	if exit := next(t, exits); exit.Ref != first("leaver") || exit.Clean || !strings.Contains(exit.Reason, "4") {
		t.Errorf("an exit that leaves a daemon is %+v", exit)
	}
	b.eventuallyNothing(t, "leaver")
}

func testExitAcrossRestart(t *testing.T, b *bench) {
	_, noMore := b.exits(t)
	b.startShell(t, first("waits"))
	b.startShell(t, first("early"))
	v := b.view(t, first("early"))
	noMore()
	v.write("exit 7\n")
	v.isOver()

	b.reopen(t)
	// A repeated start does not run it again.
	eventually(t, "the session is known to have ended", func() error {
		_, err := b.driver.Start(limited(t), b.harness.Terminal(first("early"), shell))
		if err == nil {
			return errors.New("it runs")
		}
		wantCode(t, err, models.CodeRuntimeExited)
		return nil
	})
	exits, cancel := b.exits(t)
	if exit := next(t, exits); exit.Ref != first("early") || exit.Clean || !strings.Contains(exit.Reason, "7") {
		t.Errorf("the exit is %+v", exit)
	}
	b.eventuallyNothing(t, "early")
	b.view(t, first("waits")).write("exit 0\n")
	if exit := next(t, exits); exit.Ref != first("waits") || !exit.Clean {
		t.Errorf("the exit of an adopted session is %+v", exit)
	}
	b.eventuallyNothing(t, "waits")
	cancel()

	b.reopen(t)
	exits, _ = b.exits(t)
	b.startShell(t, first("last"))
	b.view(t, first("last")).write("exit 0\n")
	if exit := next(t, exits); exit.Ref != first("last") {
		t.Errorf("an exit is delivered again: %+v", exit)
	}
}

func testStopIsNoExit(t *testing.T, b *bench) {
	exits, _ := b.exits(t)
	b.startShell(t, first("stopped"))
	b.startShell(t, first("replaced"))
	b.stop(t, first("stopped"))
	second := driver.Ref{SessionID: "replaced", Generation: 2}
	b.startShell(t, second)
	b.view(t, second).write("exit 0\n")
	if exit := next(t, exits); exit.Ref != second {
		t.Errorf("an exit is delivered of what was stopped: %+v", exit)
	}
}

func testExitsEnd(t *testing.T, b *bench) {
	b.startShell(t, first("lasting"))
	_, cancel := b.exits(t)
	cancel() // it waits for the end of the channel
	_, cancel = b.exits(t)
	cancel()
	b.wantRunning(t, first("lasting"))
}

func testKilled(t *testing.T, b *bench) {
	exits, cancel := b.exits(t)
	started := b.startShell(t, first("victim"))
	b.Kill(t, started)
	if exit := next(t, exits); exit.Ref != first("victim") || exit.Clean || exit.Reason == "" {
		t.Errorf("the exit is %+v", exit)
	}
	b.eventuallyNothing(t, "victim")
	cancel()

	// Nobody watches, and nothing but a stop comes.
	started = b.startShell(t, first("ghost"))
	b.view(t, first("ghost")).ask(`(trap '' TERM HUP; setsid sleep 3000 </dev/null >/dev/null 2>&1 &)`)
	b.Kill(t, started)
	b.reopen(t)
	b.stop(t, first("ghost"))
	b.wantNothing(t, "ghost")
	b.wantRunning(t)
}
