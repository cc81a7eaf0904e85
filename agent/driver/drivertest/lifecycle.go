package drivertest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

func testAnswers(t *testing.T, b *bench) {
	started := b.startShell(t, first("talk"))
	if started.Protocol != models.ProtocolTerminal {
		t.Errorf("the protocol is %q", started.Protocol)
	}
	if got := b.view(t, first("talk")).ask("echo $((6*7))"); got != "42" {
		t.Errorf("the session answers %q", got)
	}
	b.wantRunning(t, first("talk"))
	b.stop(t, first("talk"))
	b.wantRunning(t)
	b.wantNothing(t, "talk")
}

func testStartTwice(t *testing.T, b *bench) {
	before := b.startShell(t, first("twice"))
	b.view(t, first("twice")).remember("this")
	after := b.startShell(t, first("twice"))
	if !after.StartedAt.Equal(before.StartedAt) {
		t.Errorf("it was started at %v, and again at %v", before.StartedAt, after.StartedAt)
	}
	b.view(t, first("twice")).wantWord("this")
	b.wantRunning(t, first("twice"))
}

func testStartsAtOnce(t *testing.T, b *bench) {
	spec := b.harness.Terminal(first("rush"), shell)
	started := make([]driver.Runtime, 8)
	failed := make([]error, len(started))
	var starting sync.WaitGroup
	ctx := limited(t)
	for i := range started {
		starting.Go(func() { started[i], failed[i] = b.driver.Start(ctx, spec) })
	}
	starting.Wait()
	for i := range started {
		if failed[i] != nil {
			t.Fatal(failed[i])
		}
		if !started[i].StartedAt.Equal(started[0].StartedAt) {
			t.Errorf("started at %v and at %v", started[0].StartedAt, started[i].StartedAt)
		}
	}
	b.wantRunning(t, first("rush"))
	b.stop(t, first("rush"))
	b.wantNothing(t, "rush")
}

func testStopAbsent(t *testing.T, b *bench) {
	b.stop(t, first("never"))
	b.startShell(t, first("other"))
	b.stop(t, first("never"))
	b.wantRunning(t, first("other"))
}

func testStopTwice(t *testing.T, b *bench) {
	b.startShell(t, first("over"))
	var stopping sync.WaitGroup
	ctx := limited(t)
	for range 4 {
		stopping.Go(func() {
			if err := b.driver.Stop(ctx, first("over")); err != nil {
				t.Errorf("stop: %v", err)
			}
			if left := b.Left(t, "over"); len(left) > 0 {
				t.Errorf("a stop has returned and there is left:\n%s", lines(left))
			}
		})
	}
	stopping.Wait()
	b.stop(t, first("over"))
}

// Programs that have left their parents, their session, their process group or
// their environment behind, and that do not listen.
func testStopEndsTheTree(t *testing.T, b *bench) {
	b.start(t, b.harness.Terminal(first("tree"), `
		trap '' TERM HUP INT
		deaf='trap "" TERM HUP INT; while :; do sleep 1000; done'
		sh -c "$deaf" &
		(sh -c "$deaf" &)
		(setsid sh -c "$deaf" </dev/null >/dev/null 2>&1 &)
		(setsid sh -c "(setsid sh -c '$deaf' &)" &)
		(env -i sh -c "$deaf" </dev/null >/dev/null 2>&1 &)
		(sh -c 'exec sleep 2000' &)
		echo planted
		while :; do sleep 1000; done`))
	v := b.view(t, first("tree"))
	v.until("planted")
	if left := b.Left(t, "tree"); len(left) < 2 {
		t.Fatalf("the test should see the session, and sees:\n%s", lines(left))
	}
	begun := time.Now()
	b.stop(t, first("tree"))
	b.wantNothing(t, "tree")
	if took := time.Since(begun); took > within/3 {
		t.Errorf("the stop took %v", took)
	}
	v.isOver()
}

func testStopOlder(t *testing.T, b *bench) {
	ref := driver.Ref{SessionID: "young", Generation: 5}
	b.startShell(t, ref)
	b.stop(t, driver.Ref{SessionID: "young", Generation: 4})
	b.wantRunning(t, ref)
	if got := b.view(t, ref).ask("echo here"); got != "here" {
		t.Errorf("the session answers %q", got)
	}
	b.stop(t, driver.Ref{SessionID: "young", Generation: 6})
	b.wantNothing(t, "young")
}

func testNewerGeneration(t *testing.T, b *bench) {
	b.startShell(t, first("heir"))
	old := b.view(t, first("heir"))
	old.remember("old")
	second := driver.Ref{SessionID: "heir", Generation: 2}
	b.startShell(t, second)
	b.wantRunning(t, second)
	old.isOver()
	_, err := b.driver.Dial(limited(t), first("heir"))
	wantCode(t, err, models.CodeSessionNotRunning)
	v := b.view(t, second)
	v.wantWord("")
	// A start that was late changes nothing.
	_, err = b.driver.Start(limited(t), b.harness.Terminal(first("heir"), shell))
	wantCode(t, err, models.CodeTransitionIllegal)
	b.wantRunning(t, second)
	if got := v.ask("echo here"); got != "here" {
		t.Errorf("the session answers %q", got)
	}
}

func testRestart(t *testing.T, b *bench) {
	spec := b.harness.Terminal(first("stays"), shell)
	spec.Template.Spec.MaxDuration = "8h"
	before := b.start(t, spec)
	v := b.view(t, first("stays"))
	v.remember("before")
	b.reopen(t)
	inventory, err := b.driver.Inventory(limited(t))
	if err != nil || len(inventory) != 1 {
		t.Fatalf("the inventory is %v, %v", inventory, err)
	}
	after := inventory[0]
	if after.Ref != before.Ref || after.Protocol != before.Protocol || !after.StartedAt.Equal(before.StartedAt) ||
		after.TimeLimits != spec.TimeLimits() || before.TimeLimits != spec.TimeLimits() {
		t.Errorf("it was %+v and is %+v", before, after)
	}
	b.view(t, first("stays")).wantWord("before")
	if got := v.ask("echo still"); got != "still" {
		t.Errorf("the viewer of before hears %q", got)
	}
	if again := b.start(t, spec); !again.StartedAt.Equal(before.StartedAt) {
		t.Error("it was started again")
	}
	b.reopen(t)
	b.stop(t, first("stays"))
	b.wantNothing(t, "stays")
}

func testBroken(t *testing.T, b *bench) {
	spec, code := b.harness.Broken(first("broken"))
	for range 2 {
		_, err := b.driver.Start(limited(t), spec)
		wantCode(t, err, code)
		b.wantNothing(t, "broken")
		b.wantRunning(t)
	}
	b.startShell(t, first("broken"))
}

// The moments are spread over a start: early ones hit its beginning, late ones
// come after it.
func testCancelled(t *testing.T, b *bench) {
	begun := time.Now()
	b.startShell(t, first("measure"))
	took := time.Since(begun)
	b.stop(t, first("measure"))
	const moments = 12
	for i := range moments {
		id := fmt.Sprintf("moment-%d", i)
		ctx, cancel := context.WithTimeout(context.Background(), took*time.Duration(i)/(moments-2))
		_, err := b.driver.Start(ctx, b.harness.Terminal(first(id), shell))
		cancel()
		if err == nil {
			b.wantRunning(t, first(id))
			b.stop(t, first(id))
			continue
		}
		b.wantNothing(t, id)
		b.wantRunning(t)
	}
}

func testDialStopped(t *testing.T, b *bench) {
	_, err := b.driver.Dial(limited(t), first("gone"))
	wantCode(t, err, models.CodeSessionNotRunning)
	b.startShell(t, first("gone"))
	_, err = b.driver.Dial(limited(t), driver.Ref{SessionID: "gone", Generation: 2})
	wantCode(t, err, models.CodeSessionNotRunning)
	b.stop(t, first("gone"))
	_, err = b.driver.Dial(limited(t), first("gone"))
	wantCode(t, err, models.CodeSessionNotRunning)
}

func testMany(t *testing.T, b *bench) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*within)
	defer cancel()
	each := func(what string, do func(ref driver.Ref) error) {
		t.Helper()
		var all sync.WaitGroup
		for i := range many {
			ref := first(fmt.Sprintf("many-%d", i))
			all.Go(func() {
				if err := do(ref); err != nil {
					t.Errorf("%s %s: %v", what, ref.SessionID, err)
				}
			})
		}
		all.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	each("start", func(ref driver.Ref) error {
		_, err := b.driver.Start(ctx, b.harness.Terminal(ref, "echo I am '<'"+ref.SessionID+"'>'; "+shell))
		return err
	})
	if got := len(b.running(t)); got != many {
		t.Fatalf("%d run, not %d", got, many)
	}
	for i := range many {
		id := fmt.Sprintf("many-%d", i)
		v := b.view(t, first(id))
		v.until("<" + id + ">")
		if seen := v.seen.String(); strings.Count(seen, "<many-") != 1 {
			t.Errorf("session %s shows others: %q", id, seen)
		}
		v.close()
	}
	each("stop", func(ref driver.Ref) error { return b.driver.Stop(ctx, ref) })
	b.wantRunning(t)
	for i := range many {
		b.wantNothing(t, fmt.Sprintf("many-%d", i))
	}
}

// What the control plane lets through is harmless; a driver trusts nobody.
func testOddIDs(t *testing.T, b *bench) {
	for _, id := range []string{"..", ".hidden", "a/b", "../../escape", "with space", "UPPER.case", "ümlaut", "%41", "new\nline", strings.Repeat("x", 200)} {
		_, err := b.driver.Start(limited(t), b.harness.Terminal(first(id), shell))
		if err != nil {
			wantCode(t, err, models.CodeInvalidRequest)
			continue
		}
		b.wantRunning(t, first(id))
		if got := b.view(t, first(id)).ask("echo here"); got != "here" {
			t.Errorf("the session %q answers %q", id, got)
		}
		b.stop(t, first(id))
		b.wantRunning(t)
	}
}

func testFacilities(t *testing.T, b *bench) {
	const none = "streamspace-no-such-facility"
	found, err := b.driver.Facilities(limited(t), []string{none})
	if err != nil || len(found) != 0 {
		t.Errorf("of %s are there %v, %v", none, found, err)
	}
	if found, err = b.driver.Facilities(limited(t), nil); err != nil || len(found) != 0 {
		t.Errorf("of nothing are there %v, %v", found, err)
	}
	if b.driver.Platform() == "" {
		t.Error("the platform has no name")
	}
}
