package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent"
	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
	"github.com/streamspace/streamspace/wire"
)

func TestStartAndStop(t *testing.T) {
	p, m := newPlane(t), newMachine()
	var got driver.Spec
	m.starting = func(_ context.Context, spec driver.Spec) error { got = spec; return nil }
	run(t, configure(t, p, m))
	l := p.link()
	l.start("c1", "s", 1)
	if ack := into[wire.Ack](l, 1, wire.TypeAck); ack.CommandID != "c1" {
		t.Errorf("acknowledged %q", ack.CommandID)
	}
	complete := into[wire.Complete](l, 1, wire.TypeComplete)
	want := models.CommandPayload{"state": "running", "vncReady": true, "platformMetadata": map[string]any{"pid": 42.0}}
	if complete.CommandID != "c1" || fmt.Sprint(*complete.Result) != fmt.Sprint(want) {
		t.Errorf("completed %q with %v, want %v", complete.CommandID, *complete.Result, want)
	}
	if got.Ref != (driver.Ref{SessionID: "s", Generation: 1}) || got.User != "ada" || got.Resources != (models.Resources{CPU: "1", Memory: "512Mi"}) ||
		got.Template.Metadata.Name != "desktop" || got.Template.Spec.DisplayName != "Desktop" || got.PersistentHome {
		t.Errorf("the driver was told %+v", got)
	}
	l.stop("c2", "s", 2)
	if state := l.answered(1, "c2"); state != "terminated" {
		t.Errorf("the stop gave %q", state)
	}
	if log := m.log(); log != "start s/1, stop s/2" {
		t.Errorf("the effects are %q", log)
	}
}

// D1: one effect and as many answers as there are questions.
func TestARepeatedCommandIsAnsweredAndNotDoneAgain(t *testing.T) {
	p, m := newPlane(t), newMachine()
	broken := true
	m.starting = func(_ context.Context, spec driver.Spec) error {
		if spec.SessionID != "bad" || !broken {
			return nil
		}
		broken = false // only the first try fails
		return &models.Error{Code: models.CodeNeedsMissing, Message: "Xvnc is missing", Retryable: true}
	}
	config := configure(t, p, m)
	first := run(t, config)
	l := p.link()
	l.start("good", "s", 1)
	l.start("bad", "bad", 1)
	for n := 1; n <= 2; n++ {
		if state := l.answered(n, "good"); state != "running" {
			t.Errorf("answer %d is %q", n, state)
		}
		if code := l.answered(n, "bad"); code != string(models.CodeNeedsMissing) {
			t.Errorf("answer %d to the failing command is %q", n, code)
		}
		l.start("good", "s", 1)
		l.start("bad", "bad", 1)
	}
	l.stop("stop", "s", 2)
	l.answered(1, "stop")
	if err := first.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}

	run(t, config)
	l = p.link()
	l.start("good", "s", 1)
	l.start("bad", "bad", 1)
	if state := l.answered(1, "good"); state != "running" {
		t.Errorf("the next run answers %q", state)
	}
	failed := into[wire.Failed](l, 1, wire.TypeFailed)
	if failed.CommandID != "bad" || failed.Code != models.CodeNeedsMissing || failed.Error != "Xvnc is missing" || !failed.Retryable {
		t.Errorf("the next run answers %+v", failed)
	}
	// What could not be started was cleared away, once. The sessions do not wait
	// for each other.
	effects := strings.Split(m.log(), ", ")
	slices.Sort(effects)
	if !slices.Equal(effects, []string{"start s/1", "stop bad/1", "stop s/2"}) {
		t.Errorf("the effects are %q", effects)
	}
}

// The session may be started elsewhere next, so nothing of it may run here.
func TestWhatCannotBeStartedIsClearedAway(t *testing.T) {
	p, m := newPlane(t), newMachine()
	m.starting = func(context.Context, driver.Spec) error { return errors.New("the platform does not answer") }
	m.stopping = func(_ context.Context, ref driver.Ref) error {
		if ref.SessionID == "left" {
			return errors.New("the platform does not answer")
		}
		return nil
	}
	run(t, configure(t, p, m))
	l := p.link()
	for i, session := range []string{"gone", "left"} {
		l.start(session, session, 1)
		failed := into[wire.Failed](l, i+1, wire.TypeFailed)
		if failed.CommandID != session || failed.Lingers != (session == "left") {
			t.Errorf("it is said %+v", failed)
		}
	}
	if log := m.log(); log != "stop gone/1" {
		t.Errorf("the effects are %q", log)
	}
}

// The journal has the intent before the acknowledgement and the outcome before
// the answer, or neither means anything.
func TestNothingIsSaidBeforeItIsJournaled(t *testing.T) {
	p, m := newPlane(t), newMachine()
	gate := newHanging()
	m.starting = gate.start
	config := configure(t, p, m)
	run(t, config)
	l := p.link()
	journaled := func(what string) bool {
		content, err := os.ReadFile(config.JournalPath)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(content), what)
	}
	l.start("c1", "s", 1)
	gate.await(t)
	if !journaled(`"kind":"intent"`) {
		t.Error("the driver is called without an intent in the journal")
	}
	l.nth(1, wire.TypeAck)
	if journaled(`"kind":"outcome"`) {
		t.Error("there is an outcome before the effect")
	}
	close(gate.open)
	l.nth(1, wire.TypeComplete)
	if !journaled(`"kind":"outcome"`) {
		t.Error("the command is completed without an outcome in the journal")
	}
}

// D2: the crash came after the intent, and after or before the effect.
func TestACommandThatACrashInterruptedIsDoneOnce(t *testing.T) {
	for name, happened := range map[string]bool{"the effect had happened": true, "the effect had not happened": false} {
		t.Run(name, func(t *testing.T) {
			p, m := newPlane(t), newMachine()
			config := configure(t, p, m)
			journal, err := agent.OpenJournal(config.JournalPath, agent.JournalOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ref := driver.Ref{SessionID: "s", Generation: 1}
			if err := journal.Intend(agent.Intent{CommandID: "c1", Action: models.ActionStartSession, Ref: ref}); err != nil {
				t.Fatal(err)
			}
			if err := journal.Close(); err != nil {
				t.Fatal(err)
			}
			if happened {
				if _, err := m.Start(t.Context(), driver.Spec{Ref: ref}); err != nil {
					t.Fatal(err)
				}
			}
			run(t, config)
			l := p.link()
			l.start("c1", "s", 1)
			if state := l.answered(1, "c1"); state != "running" {
				t.Errorf("it became %q", state)
			}
			if log := m.log(); log != "start s/1" {
				t.Errorf("the effects are %q", log)
			}
		})
	}
}

func TestACommandOutlivesItsConnection(t *testing.T) {
	p, m := newPlane(t), newMachine()
	gate := newHanging()
	m.starting = gate.start
	run(t, configure(t, p, m))
	l := p.link()
	l.start("c1", "s", 1)
	l.nth(1, wire.TypeAck)
	gate.await(t)
	_ = l.socket.CloseNow()
	l = p.link()
	l.start("c1", "s", 1)
	l.nth(1, wire.TypeAck)
	close(gate.open)
	if state := l.answered(1, "c1"); state != "running" {
		t.Errorf("it became %q", state)
	}
	if log := m.log(); log != "start s/1" {
		t.Errorf("the effects are %q", log)
	}
}

// D4.
func TestCommandsOfOneSessionFollowEachOther(t *testing.T) {
	p, m := newPlane(t), newMachine()
	gate := newHanging()
	m.stopping = gate.wait
	run(t, configure(t, p, m))
	l := p.link()
	l.start("c1", "s", 1)
	l.answered(1, "c1")
	l.stop("c2", "s", 2)
	gate.await(t)
	l.start("c3", "s", 3)
	l.start("other", "t", 1)
	l.nth(4, wire.TypeAck) // all of them are taken, though the stop hangs
	l.answered(1, "other")
	if log := m.log(); log != "start s/1, start t/1" {
		t.Errorf("before the stop is done the effects are %q", log)
	}
	close(gate.open)
	l.answered(1, "c3")
	if log := m.log(); log != "start s/1, start t/1, stop s/2, start s/3" {
		t.Errorf("the effects are %q", log)
	}
}

func TestSessionsStartAtOnceWithinABound(t *testing.T) {
	p, m := newPlane(t), newMachine()
	gate := newHanging()
	m.starting = gate.start
	config := configure(t, p, m)
	config.MaxConcurrent = 2
	run(t, config)
	l := p.link()
	for i := range 4 {
		l.start(fmt.Sprintf("c%d", i), fmt.Sprintf("s%d", i), 1)
	}
	gate.await(t)
	gate.await(t)
	// Starts that hang keep no other session from being stopped.
	l.stop("stop", "elsewhere", 2)
	l.answered(1, "stop")
	l.nth(5, wire.TypeAck)
	select {
	case third := <-gate.reached:
		t.Errorf("%v is started although two are", third)
	default:
	}
	close(gate.open)
	for i := range 4 {
		l.answered(1, fmt.Sprintf("c%d", i))
	}
}

func TestAStopOvertakesAStartThatHangs(t *testing.T) {
	for name, generation := range map[string]int64{"a later generation": 2, "no generation": 0} {
		t.Run(name, func(t *testing.T) {
			p, m := newPlane(t), newMachine()
			gate := newHanging() // never opens
			m.starting = gate.start
			run(t, configure(t, p, m))
			l := p.link()
			l.start("c1", "s", 1)
			gate.await(t)
			l.start("repeat", "s", 1) // waits behind it
			l.nth(2, wire.TypeAck)
			l.stop("c2", "s", generation)
			for command, want := range map[string]string{
				"c1": "terminated superseded", "repeat": "terminated superseded", "c2": "terminated",
			} {
				if state := l.answered(1, command); state != want {
					t.Errorf("%s became %q, want %q", command, state, want)
				}
			}
			if log := m.log(); !strings.HasPrefix(log, "stop s/") || strings.Contains(log, "start") {
				t.Errorf("the effects are %q", log)
			}
		})
	}
}

func TestALateStopLeavesALaterStartAlone(t *testing.T) {
	p, m := newPlane(t), newMachine()
	gate := newHanging()
	m.starting = gate.start
	run(t, configure(t, p, m))
	l := p.link()
	l.start("c1", "s", 3)
	gate.await(t)
	l.stop("c2", "s", 2)
	l.nth(2, wire.TypeAck)
	close(gate.open)
	for command, want := range map[string]string{"c1": "running", "c2": "terminated"} {
		if state := l.answered(1, command); state != want {
			t.Errorf("%s became %q, want %q", command, state, want)
		}
	}
	if log := m.log(); log != "start s/3, stop s/2" {
		t.Errorf("the effects are %q", log)
	}
}

// D4, across connections and runs of the agent.
func TestAStartAfterItsStopDoesNotHappen(t *testing.T) {
	p, m := newPlane(t), newMachine()
	config := configure(t, p, m)
	first := run(t, config)
	l := p.link()
	l.stop("stop", "s", 2)
	l.answered(1, "stop")
	l.start("late", "s", 1)
	if state := l.answered(1, "late"); state != "terminated superseded" {
		t.Errorf("the late start became %q", state)
	}
	if err := first.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	run(t, config)
	l = p.link()
	l.start("later", "s", 2)
	if state := l.answered(1, "later"); state != "terminated superseded" {
		t.Errorf("after a restart the late start became %q", state)
	}
	l.start("next", "s", 3)
	if state := l.answered(1, "next"); state != "running" {
		t.Errorf("a start of a later generation became %q", state)
	}
	if log := m.log(); log != "stop s/2, start s/3" {
		t.Errorf("the effects are %q", log)
	}
}

// Hibernating is a stop, and waking a start, with a state of its own.
func TestHibernateAndWake(t *testing.T) {
	p, m := newPlane(t), newMachine()
	run(t, configure(t, p, m))
	l := p.link()
	l.start("c1", "s", 1)
	l.answered(1, "c1")
	l.command("c2", models.ActionHibernateSession, map[string]any{"sessionId": "s", "generation": 2})
	if state := l.answered(1, "c2"); state != "hibernated" {
		t.Errorf("it became %q", state)
	}
	l.command("late", models.ActionWakeSession, map[string]any{"sessionId": "s", "generation": 1, "cpu": "1", "memory": "1Gi"})
	if state := l.answered(1, "late"); state != "terminated superseded" {
		t.Errorf("a late wake became %q", state)
	}
	l.command("c3", models.ActionWakeSession, map[string]any{"sessionId": "s", "generation": 3, "cpu": "1", "memory": "1Gi"})
	if state := l.answered(1, "c3"); state != "running" {
		t.Errorf("it became %q", state)
	}
	if log := m.log(); log != "start s/1, stop s/2, start s/3" {
		t.Errorf("the effects are %q", log)
	}
}

// A control plane of the basic protocol numbers nothing; there the order of
// arrival is all that counts.
func TestWithoutGenerationsTheOrderOfArrivalCounts(t *testing.T) {
	p, m := newPlane(t), newMachine()
	p.basic = true
	run(t, configure(t, p, m))
	l := p.link()
	for i, step := range []func(string, string, int64){l.start, l.stop, l.start} {
		step(fmt.Sprint(i), "s", 0)
		l.answered(1, fmt.Sprint(i))
	}
	if log := m.log(); log != fmt.Sprintf("start s/0, stop s/%d, start s/0", int64(math.MaxInt64)) {
		t.Errorf("the effects are %q", log)
	}
}

func TestCommandsThatCannotBeCarriedOut(t *testing.T) {
	_, m, l := begin(t)
	valid := map[string]any{"sessionId": "s", "generation": 1, "cpu": "1", "memory": "1Gi"}
	with := func(key string, value any) map[string]any {
		payload := maps.Clone(valid)
		payload[key] = value
		return payload
	}
	for i, test := range []struct {
		action  string
		payload any
		want    models.ErrorCode
	}{
		{models.ActionStartSession, nil, models.CodeInvalidRequest},
		{models.ActionStartSession, "text", models.CodeInvalidRequest},
		{models.ActionStartSession, []int{1}, models.CodeInvalidRequest},
		{models.ActionStartSession, with("sessionId", 5), models.CodeInvalidRequest},
		{models.ActionStartSession, with("sessionId", ""), models.CodeInvalidRequest},
		{models.ActionStartSession, with("sessionId", "../../etc"), models.CodeInvalidRequest},
		{models.ActionStartSession, with("sessionId", ".."), models.CodeInvalidRequest},
		{models.ActionStartSession, with("sessionId", strings.Repeat("s", 129)), models.CodeInvalidRequest},
		{models.ActionStartSession, with("generation", -1), models.CodeInvalidRequest},
		{models.ActionStartSession, with("generation", "one"), models.CodeInvalidRequest},
		{models.ActionStartSession, with("cpu", "much"), models.CodeInvalidRequest},
		{models.ActionStartSession, with("templateManifest", "desktop"), models.CodeInvalidRequest},
		{models.ActionStopSession, nil, models.CodeInvalidRequest},
		{models.ActionStopSession, with("sessionId", "a/b"), models.CodeInvalidRequest},
		{models.ActionHibernateSession, with("sessionId", ""), models.CodeInvalidRequest},
		{models.ActionWakeSession, with("sessionId", ""), models.CodeInvalidRequest},
		{"dance_session", valid, models.CodeInvalidRequest},
	} {
		id := fmt.Sprint("c", i)
		l.command(id, test.action, test.payload)
		if code := l.answered(1, id); code != string(test.want) {
			t.Errorf("%s %v gives %q, want %q", test.action, test.payload, code, test.want)
		}
		if failed := into[wire.Failed](l, i+1, wire.TypeFailed); failed.Error == "" || failed.Retryable {
			t.Errorf("%s %v: %+v", test.action, test.payload, failed)
		}
	}
	if log := m.log(); log != "" {
		t.Errorf("the effects are %q", log)
	}
}

func TestWhatTheDriverSaysOfAFailure(t *testing.T) {
	p, m := newPlane(t), newMachine()
	m.starting = func(ctx context.Context, spec driver.Spec) error {
		switch spec.SessionID {
		case "told":
			return fmt.Errorf("start: %w", &models.Error{Code: models.CodeNeedsMissing, Message: "install tigervnc", Err: errors.New("/secret/path")})
		case "long":
			return models.Errorf(models.CodeRuntimeExited, "%s", strings.Repeat("ä", 4000))
		case "slow":
			<-ctx.Done()
			return ctx.Err()
		}
		return errors.New("open /secret/path: permission denied")
	}
	config := configure(t, p, m)
	config.EffectWithin = 50 * time.Millisecond
	run(t, config)
	l := p.link()
	for i, test := range []struct {
		session string
		code    models.ErrorCode
		words   string
		retry   bool
	}{
		{"told", models.CodeNeedsMissing, "install tigervnc", false},
		{"untold", models.CodeCommandFailed, "its log has more", true},
		{"slow", models.CodeStartTimeout, "within 50ms", true},
		{"long", models.CodeRuntimeExited, "ää", false},
	} {
		l.start(test.session, test.session, 1)
		failed := into[wire.Failed](l, i+1, wire.TypeFailed)
		if failed.Code != test.code || !strings.Contains(failed.Error, test.words) || failed.Retryable != test.retry || len(failed.Error) > 1000 {
			t.Errorf("%s: %+v", test.session, failed)
		}
		if strings.Contains(failed.Error, "/secret") {
			t.Errorf("%s: %q leaves this machine", test.session, failed.Error)
		}
	}
}

func TestWhatTheDriverSaysIsLeftOutIfItCannotBeSent(t *testing.T) {
	p, m := newPlane(t), newMachine()
	ref := driver.Ref{SessionID: "s", Generation: 1}
	m.running[ref] = driver.Runtime{Ref: ref, Metadata: map[string]any{"load": math.NaN()}}
	ref.SessionID = "t"
	m.running[ref] = driver.Runtime{Ref: ref, Metadata: map[string]any{"log": strings.Repeat("x", wire.MaxFrame)}}
	run(t, configure(t, p, m))
	l := p.link()
	for _, session := range []string{"s", "t"} {
		l.start(session, session, 1)
		if state := l.answered(1, session); state != "running" {
			t.Errorf("%s became %q", session, state)
		}
	}
}

// D5.
func TestWhatIsTooMuchIsDroppedUnacknowledged(t *testing.T) {
	p, m := newPlane(t), newMachine()
	gate := newHanging()
	m.starting = gate.start
	config := configure(t, p, m)
	config.MaxPending = 2
	r := run(t, config)
	l := p.link()
	l.start("c1", "s1", 1)
	l.start("c2", "s2", 1)
	l.start("c3", "s3", 1)
	program.Eventually(t, "a word in the log", soon, func() error {
		if !strings.Contains(r.log.String(), "too much is waiting") {
			return errors.New("there is none")
		}
		return nil
	})
	close(gate.open)
	l.answered(1, "c1")
	l.answered(1, "c2")
	if count := l.count(wire.TypeAck); count != 2 {
		t.Errorf("%d commands were acknowledged", count)
	}
	// A task is over a moment after its answer.
	program.Eventually(t, "the third command, sent again", soon, func() error {
		l.start("c3", "s3", 1)
		if !strings.Contains(m.log(), "start s3/1") {
			return errors.New("it is not done")
		}
		return nil
	})
}

// A journal that cannot be written must not make the agent do things it will
// not remember, nor leave people without an answer.
func TestAFullDiskFailsCommandsUntilThereIsRoom(t *testing.T) {
	p, m := newPlane(t), newMachine()
	config := configure(t, p, m)
	run(t, config)
	l := p.link()
	l.start("c1", "s", 1)
	l.answered(1, "c1")
	var failed wire.Failed
	withFullDisk(t, 16, func() {
		l.stop("c2", "s", 2)
		failed = into[wire.Failed](l, 1, wire.TypeFailed)
	})
	if failed.CommandID != "c2" || failed.Code != models.CodeUnavailable || !failed.Retryable {
		t.Errorf("with a full disk: %+v", failed)
	}
	if count := l.count(wire.TypeAck); count != 1 {
		t.Errorf("%d commands were acknowledged", count)
	}
	// A task is over a moment after its answer.
	program.Eventually(t, "the stop, sent again", soon, func() error {
		l.stop("c2", "s", 2)
		if !strings.Contains(m.log(), "stop s/2") {
			return errors.New("it is not done")
		}
		return nil
	})
	if state := l.answered(2, "c2"); state != "terminated" {
		t.Errorf("with room again it became %q", state)
	}
	if log := m.log(); log != "start s/1, stop s/2" {
		t.Errorf("the effects are %q", log)
	}
}

// withFullDisk runs step while no file can grow beyond so many bytes. A limit
// on the size of files stands in for the disk (setrlimit(2)); Go ignores the
// signal that comes with it.
func withFullDisk(t *testing.T, bytes int64, step func()) {
	t.Helper()
	var roomy unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &roomy); err != nil {
		t.Fatal(err)
	}
	limit := func(to unix.Rlimit) {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &to); err != nil {
			t.Fatal(err)
		}
	}
	defer limit(roomy)
	limit(unix.Rlimit{Cur: uint64(bytes), Max: roomy.Max})
	step()
}

// What is under way when the agent is asked to stop is finished and told.
func TestStoppingFinishesWhatIsUnderWay(t *testing.T) {
	p, m := newPlane(t), newMachine()
	gate := newHanging()
	m.starting = gate.start
	config := configure(t, p, m)
	config.DrainWithin = time.Minute
	r := run(t, config)
	l := p.link()
	l.start("c1", "s", 1)
	gate.await(t)
	l.stop("c2", "other", 2)
	l.answered(1, "c2")
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	program.Eventually(t, "no more commands are taken", soon, func() error {
		l.stop("late", "late", 1)
		if !strings.Contains(r.log.String(), "not taken, the agent is stopping") {
			return errors.New("they are")
		}
		return nil
	})
	close(gate.open)
	if state := l.answered(1, "c1"); state != "running" {
		t.Errorf("it became %q", state)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	l.awaitClosed()
	if !strings.Contains(l.why.Error(), "the agent is stopping") {
		t.Errorf("the connection ended with %v", l.why)
	}
}

// What takes longer is given up without an outcome, and done by the next run.
func TestStoppingGivesUpWhatHangs(t *testing.T) {
	p, m := newPlane(t), newMachine()
	gate := newHanging()
	m.starting = gate.start
	config := configure(t, p, m)
	config.DrainWithin = time.Millisecond
	r := run(t, config)
	l := p.link()
	l.start("c1", "s", 1)
	gate.await(t)
	l.start("c2", "s", 2) // waits behind it
	l.nth(2, wire.TypeAck)
	if err := r.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if count := l.count(wire.TypeComplete) + l.count(wire.TypeFailed); count != 0 {
		t.Errorf("%d commands were answered", count)
	}
	close(gate.open)
	run(t, config)
	l = p.link()
	l.start("c1", "s", 1)
	if state := l.answered(1, "c1"); state != "running" {
		t.Errorf("in the next run it became %q", state)
	}
}

// The answers of a driver's own types survive the way through the journal.
func TestTheSecondAnswerIsTheFirst(t *testing.T) {
	p, m := newPlane(t), newMachine()
	config := configure(t, p, m)
	first := run(t, config)
	l := p.link()
	l.start("c1", "s", 1)
	before := l.nth(1, wire.TypeComplete)
	if err := first.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	run(t, config)
	l = p.link()
	l.start("c1", "s", 1)
	if after := l.nth(1, wire.TypeComplete); !equalJSON(t, before.Payload, after.Payload) {
		t.Errorf("first %s, then %s", before.Payload, after.Payload)
	}
}

func equalJSON(t *testing.T, a, b json.RawMessage) bool {
	t.Helper()
	var left, right any
	if err := errors.Join(json.Unmarshal(a, &left), json.Unmarshal(b, &right)); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(left) == fmt.Sprint(right)
}

// refuseAll answers every request to a path with a status.
func refuseAll(path string, status int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		w.WriteHeader(status)
		return true
	}
}
