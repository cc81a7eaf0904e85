// Package drivertest is the one suite that every driver passes. It knows
// sessions, streams and drivers, and nothing of any platform: what a platform
// must show is asked of the Harness.
package drivertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

const (
	// within bounds everything that a test waits for, on a busy machine.
	within = 60 * time.Second
	// many is how many sessions the suite runs at once.
	many = 50
	// lookEvery is how often a condition is tried again.
	lookEvery = 10 * time.Millisecond
)

// Harness is what the suite needs to know of a driver. The sessions that it
// describes run as the user "alice" unless a test sets another, from templates
// of any name.
type Harness struct {
	// World makes an empty world for one test: a directory, an engine, a
	// namespace. It ends with the test, with all that is in it.
	World func(t *testing.T) World
	// Terminal describes a terminal session whose program is sh with script.
	Terminal func(ref driver.Ref, script string) driver.Spec
	// Broken describes a session whose start must fail, and the code that it
	// must fail with.
	Broken func(ref driver.Ref) (driver.Spec, models.ErrorCode)
	// Screen describes a session with a screen; nil where there are none.
	Screen func(ref driver.Ref) driver.Spec
	// Pages describes a session that shows pages: GET /health is answered with 503
	// three times and well afterwards, GET /name with "pages of ID after N", N being
	// how often the health was asked for, both below the prefix that its variable
	// PREFIX has, if any; test/webapp does so. nil where there are
	// none.
	Pages func(ref driver.Ref) driver.Spec
	// Parallel tells that tests of this driver wait most of the time, and may do so
	// side by side.
	Parallel bool
	// LimitsMemory tells that Spec.Resources.Memory is enforced here.
	LimitsMemory bool
}

// World is one place where sessions run.
type World struct {
	// Open makes a driver. Doing so again is what an agent does that starts
	// again after it was killed: nothing is said to the earlier driver.
	Open func(t *testing.T) driver.Driver
	// Left describes everything that is there of a session, whether it runs or
	// not, in words: processes, containers, files, sockets. What persistent
	// homes hold does not count.
	Left func(t *testing.T, sessionID string) []string
	// Dying makes a driver that is like one of an agent that is killed in the middle
	// of something: it reaches its platform so many times, and never again. What it
	// asks for the last time happens, or, if lost, happens without its hearing of
	// that. Nil where the platform has no such border; such drivers have tests of
	// their own.
	Dying func(t *testing.T, calls int, lost bool) driver.Driver
	// Kill ends a runtime as no driver would do it: a crash, an impatient
	// administrator.
	Kill func(t *testing.T, runtime driver.Runtime)
}

// ofTheProcess is the test that changes what all tests have in common.
const ofTheProcess = "nothing of the agent's environment"

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(*testing.T, *bench){
		"a session answers on its stream":                testAnswers,
		"starting twice is starting once":                testStartTwice,
		"starts at once are one":                         testStartsAtOnce,
		"stopping what is absent":                        testStopAbsent,
		"stopping twice":                                 testStopTwice,
		"stopping ends the tree":                         testStopEndsTheTree,
		"stopping an older generation spares the newer":  testStopOlder,
		"a newer generation replaces the older":          testNewerGeneration,
		"a restarted agent has its sessions":             testRestart,
		"an exit is delivered with its reason":           testExits,
		"an exit is delivered after a restart, once":     testExitAcrossRestart,
		"a stop is no exit":                              testStopIsNoExit,
		"exits end with their context":                   testExitsEnd,
		"a killed runtime is an exit":                    testKilled,
		"a start that fails leaves nothing":              testBroken,
		"a start that is cancelled leaves nothing":       testCancelled,
		"an agent is killed at each step of a start":     testKilledAtEachStep,
		"a stopped session cannot be dialled":            testDialStopped,
		"many sessions at once":                          testMany,
		"two viewers":                                    testTwoViewers,
		ofTheProcess:                                     testEnvironment,
		"a persistent home is kept":                      testPersistentHome,
		"a home of any kind is removed":                  testHomeRemoved,
		"a persistent home is for one session at a time": testHomeInUse,
		"ids of any kind":                                testOddIDs,
		"facilities":                                     testFacilities,
		"a session with a screen":                        testScreen,
		"a session that shows pages":                     testPages,
		"memory is limited":                              testMemoryLimit,
	} {
		t.Run(name, func(t *testing.T) {
			if h.Parallel && name != ofTheProcess {
				t.Parallel()
			}
			b := &bench{harness: h, World: h.World(t)}
			b.driver = b.Open(t)
			test(t, b)
		})
	}
}

// bench is one test's world with a driver open on it.
type bench struct {
	World
	harness Harness
	driver  driver.Driver
}

// reopen is the restart of the agent.
func (b *bench) reopen(t *testing.T) {
	t.Helper()
	b.driver = b.Open(t)
}

func first(sessionID string) driver.Ref { return driver.Ref{SessionID: sessionID, Generation: 1} }

// shell is a script that takes commands.
const shell = "PS1= exec sh"

func (b *bench) start(t *testing.T, spec driver.Spec) driver.Runtime {
	t.Helper()
	started, err := b.driver.Start(limited(t), spec)
	if err != nil {
		t.Fatalf("start %v: %v", spec.Ref, err)
	}
	if started.Ref != spec.Ref || started.StartedAt.IsZero() {
		t.Fatalf("start %v gives %+v", spec.Ref, started)
	}
	return started
}

func (b *bench) startShell(t *testing.T, ref driver.Ref) driver.Runtime {
	t.Helper()
	return b.start(t, b.harness.Terminal(ref, shell))
}

func (b *bench) stop(t *testing.T, ref driver.Ref) {
	t.Helper()
	if err := b.driver.Stop(limited(t), ref); err != nil {
		t.Fatalf("stop %v: %v", ref, err)
	}
}

// running lists what the inventory says, sorted.
func (b *bench) running(t *testing.T) []driver.Ref {
	t.Helper()
	inventory, err := b.driver.Inventory(limited(t))
	if err != nil {
		t.Fatalf("inventory: %v", err)
	}
	var refs []driver.Ref
	for _, runtime := range inventory {
		refs = append(refs, runtime.Ref)
	}
	slices.SortFunc(refs, func(a, b driver.Ref) int {
		if a.SessionID != b.SessionID {
			return compare(a.SessionID, b.SessionID)
		}
		return compare(a.Generation, b.Generation)
	})
	return refs
}

func (b *bench) wantRunning(t *testing.T, want ...driver.Ref) {
	t.Helper()
	if got := b.running(t); !slices.Equal(got, want) {
		t.Fatalf("the inventory lists %v, want %v", got, want)
	}
}

// wantNothing checks that nothing at all is left of the session.
func (b *bench) wantNothing(t *testing.T, sessionID string) {
	t.Helper()
	if left := b.Left(t, sessionID); len(left) > 0 {
		t.Fatalf("of session %s is left:\n%s", sessionID, lines(left))
	}
}

// wantCode checks an error that users may read.
func wantCode(t *testing.T, err error, code models.ErrorCode) {
	t.Helper()
	var told *models.Error
	if !errors.As(err, &told) || told.Code != code || told.Message == "" {
		t.Fatalf("the error is %v, want code %s", err, code)
	}
}

// limited bounds one call.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until probe gives nil.
func eventually(t *testing.T, what string, probe func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := probe()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		<-time.After(lookEvery)
	}
}
