package agent_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/agent"
	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// notes is an open journal and what it should say.
type notes struct {
	*agent.Journal
	path string
}

func openNotes(t testing.TB, path string, options agent.JournalOptions) *notes {
	t.Helper()
	journal, err := agent.OpenJournal(path, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = journal.Close() }) // most tests have closed it
	return &notes{Journal: journal, path: path}
}

func (n *notes) began(t testing.TB, commandID, action, sessionID string, generation int64) {
	t.Helper()
	err := n.Intend(agent.Intent{CommandID: commandID, Action: action, Ref: driver.Ref{SessionID: sessionID, Generation: generation}})
	if err != nil {
		t.Fatal(err)
	}
}

func (n *notes) ended(t testing.TB, commandID, state string) {
	t.Helper()
	if err := n.Conclude(commandID, agent.Outcome{Completed: true, Result: models.CommandPayload{"state": state}}); err != nil {
		t.Fatal(err)
	}
}

// said gives the state that the command ended in, or nothing.
func (n *notes) said(commandID string) string {
	outcome, ended := n.Outcome(commandID)
	if !ended {
		return ""
	}
	return fmt.Sprint(outcome.Result["state"])
}

func journalPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "journal")
}

func TestTheJournalRemembers(t *testing.T) {
	path := journalPath(t)
	n := openNotes(t, path, agent.JournalOptions{})
	n.began(t, "c1", models.ActionStartSession, "s", 1)
	n.ended(t, "c1", "running")
	n.began(t, "c2", models.ActionStopSession, "s", 2)
	failed := agent.Outcome{Error: "why", Code: models.CodeNeedsMissing, Retryable: true}
	if err := n.Conclude("c2", failed); err != nil {
		t.Fatal(err)
	}
	n.began(t, "c3", models.ActionStopSession, "t", 5)
	n.began(t, "c4", models.ActionStopSession, "t", 3)
	n.began(t, "", models.ActionStopSession, "u", 7)
	n.began(t, "c5", models.ActionStopSession, "v", 0)
	check := func(n *notes) {
		t.Helper()
		if state := n.said("c1"); state != "running" {
			t.Errorf("c1 ended as %q", state)
		}
		if outcome, ended := n.Outcome("c2"); !ended || outcome.Completed || outcome.Error != "why" || outcome.Code != models.CodeNeedsMissing || !outcome.Retryable {
			t.Errorf("c2 ended %v with %+v", ended, outcome)
		}
		for _, open := range []string{"c3", "c4", "c5", "never", ""} {
			if _, ended := n.Outcome(open); ended {
				t.Errorf("%q has ended", open)
			}
		}
		for session, want := range map[string]int64{"s": 2, "t": 5, "u": 7, "v": 0, "never": 0} {
			if got := n.Stopped(session); got != want {
				t.Errorf("session %s is stopped up to generation %d, want %d", session, got, want)
			}
		}
	}
	check(n)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	check(openNotes(t, path, agent.JournalOptions{}))
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
}

func TestTheJournalSharesSyncsAndLosesNothing(t *testing.T) {
	n := openNotes(t, journalPath(t), agent.JournalOptions{})
	var writing sync.WaitGroup
	for i := range 64 {
		writing.Go(func() {
			id := fmt.Sprint("c", i)
			n.began(t, id, models.ActionStopSession, id, 1)
			n.ended(t, id, id)
		})
	}
	writing.Wait()
	_ = n.Close()
	again := openNotes(t, n.path, agent.JournalOptions{})
	for i := range 64 {
		if id := fmt.Sprint("c", i); again.said(id) != id || again.Stopped(id) != 1 {
			t.Errorf("%s is not remembered", id)
		}
	}
}

// Whatever moment the power fails at, what was written before is there.
func TestTheJournalSurvivesATornTail(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, "journal")
		_ = os.Remove(path)
		n, err := agent.OpenJournal(path, agent.JournalOptions{})
		if err != nil {
			t.Fatal(err)
		}
		type state struct {
			size    int64
			ended   map[string]string
			stopped map[string]int64
		}
		now := state{ended: map[string]string{}, stopped: map[string]int64{}}
		var history []state
		note := func() {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			history = append(history, state{size: info.Size(), ended: maps.Clone(now.ended), stopped: maps.Clone(now.stopped)})
		}
		note()
		ids, sessions := []string{"a", "b", "c", "d"}, []string{"s", "t"}
		for range rapid.IntRange(0, 12).Draw(t, "records") {
			id, session := rapid.SampledFrom(ids).Draw(t, "command"), rapid.SampledFrom(sessions).Draw(t, "session")
			if rapid.Bool().Draw(t, "outcome") {
				how := rapid.String().Draw(t, "how")
				err = n.Conclude(id, agent.Outcome{Error: how})
				now.ended[id] = strings.ToValidUTF8(how, "�")
			} else {
				generation := rapid.Int64Range(0, 5).Draw(t, "generation")
				err = n.Intend(agent.Intent{CommandID: id, Action: models.ActionStopSession, Ref: driver.Ref{SessionID: session, Generation: generation}})
				now.stopped[session] = max(now.stopped[session], generation)
				delete(now.ended, id) // begun anew
			}
			if err != nil {
				t.Fatal(err)
			}
			note()
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		cut := rapid.Int64Range(history[0].size, history[len(history)-1].size).Draw(t, "cut")
		for _, one := range history {
			if cut == one.size-1 { // without its line break it still is a record
				cut--
			}
		}
		if err := os.Truncate(path, cut); err != nil {
			t.Fatal(err)
		}
		if garbage := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "garbage"); len(garbage) > 0 {
			file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = file.Write(garbage)
			_ = file.Close()
		}
		want := history[0]
		for _, one := range history {
			if one.size <= cut {
				want = one
			}
		}
		for range 2 { // the second time what the first one wrote anew
			if n, err = agent.OpenJournal(path, agent.JournalOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				outcome, ended := n.Outcome(id)
				if how, should := want.ended[id]; ended != should || outcome.Error != how {
					t.Fatalf("%s: %v %q, want %v %q", id, ended, outcome.Error, should, how)
				}
			}
			for _, session := range sessions {
				if got := n.Stopped(session); got != want.stopped[session] {
					t.Fatalf("%s is stopped up to %d, want %d", session, got, want.stopped[session])
				}
			}
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestADamagedLineTakesNoOtherAlong(t *testing.T) {
	path := journalPath(t)
	n := openNotes(t, path, agent.JournalOptions{})
	for _, id := range []string{"c1", "c2", "c3"} {
		n.ended(t, id, "state of "+id)
	}
	_ = n.Close()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(content, []byte("of c2"), []byte("of c9"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	log := &program.Buffer{}
	n = openNotes(t, path, agent.JournalOptions{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if n.said("c1") == "" || n.said("c2") != "" || n.said("c3") == "" {
		t.Errorf("it says %q, %q, %q", n.said("c1"), n.said("c2"), n.said("c3"))
	}
	if !strings.Contains(log.String(), "damaged") || !strings.Contains(log.String(), "lines=1") {
		t.Errorf("the log says %s", log)
	}
}

func TestWhatIsNoJournalIsNotTouched(t *testing.T) {
	for name, content := range map[string]string{
		"another file":    "my diary\n",
		"a newer journal": newerJournal(t),
	} {
		t.Run(name, func(t *testing.T) {
			path := journalPath(t)
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := agent.OpenJournal(path, agent.JournalOptions{}); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("it opened, with %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || string(after) != content {
				t.Errorf("the file is now %q, %v", after, err)
			}
		})
	}
}

// newerJournal is what a later version might write.
func newerJournal(t *testing.T) string {
	t.Helper()
	const record = `{"kind":"journal","version":99}`
	return fmt.Sprintf("%08x %s\n", crc32.Checksum([]byte(record), crc32.MakeTable(crc32.Castagnoli)), record)
}

// D5.
func TestTheJournalStaysSmall(t *testing.T) {
	const keep, commands = 16, 3000
	path := journalPath(t)
	n := openNotes(t, path, agent.JournalOptions{Keep: keep})
	largest := int64(0)
	state := strings.Repeat("running ", 100)
	for i := range commands {
		id := fmt.Sprint("c", i)
		n.began(t, id, models.ActionStopSession, "s"+id, int64(i))
		n.ended(t, id, state)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, info.Size())
	}
	if largest > 2<<20 {
		t.Errorf("the file grew to %d bytes", largest)
	}
	check := func(n *notes) {
		t.Helper()
		for i := range commands {
			id := fmt.Sprint("c", i)
			kept := i >= commands-keep
			if remembered := n.said(id) == state && n.Stopped("s"+id) == int64(i); remembered != kept {
				t.Fatalf("%s is remembered: %v", id, remembered)
			}
		}
	}
	check(n)
	_ = n.Close()
	check(openNotes(t, path, agent.JournalOptions{Keep: keep}))
}

// After a write that failed the file is written anew, and everything that was
// remembered is in it.
func TestTheJournalRecoversFromFailedWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "journal")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	n := openNotes(t, path, agent.JournalOptions{})
	n.began(t, "c1", models.ActionStopSession, "s", 1)
	n.ended(t, "c1", "before")
	_ = n.Close() // every write to the file fails from now on
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	intent := agent.Intent{CommandID: "c2", Action: models.ActionStopSession, Ref: driver.Ref{SessionID: "t", Generation: 1}}
	if err := n.Intend(intent); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an intent that is not on disk gave %v", err)
	}
	if n.Stopped("t") != 0 {
		t.Error("an intent that is not on disk counts")
	}
	if err := n.Conclude("c3", agent.Outcome{Completed: true, Result: models.CommandPayload{"state": "meanwhile"}}); err == nil {
		t.Error("an outcome that is not on disk gave no error")
	}
	if n.said("c3") != "meanwhile" {
		t.Error("the outcome is forgotten")
	}
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	n.ended(t, "c4", "after")
	_ = n.Close()
	again := openNotes(t, path, agent.JournalOptions{})
	for id, want := range map[string]string{"c1": "before", "c2": "", "c3": "meanwhile", "c4": "after"} {
		if state := again.said(id); state != want {
			t.Errorf("%s ended as %q, want %q", id, state, want)
		}
	}
	if again.Stopped("s") != 1 {
		t.Error("the stopped session is forgotten")
	}
}

// The disk takes a part of a record, and the next one must not end up in that.
func TestTheJournalRecoversFromHalfAWrite(t *testing.T) {
	n := openNotes(t, journalPath(t), agent.JournalOptions{})
	info, err := os.Stat(n.path)
	if err != nil {
		t.Fatal(err)
	}
	withFullDisk(t, info.Size()+10, func() { err = n.Conclude("c1", agent.Outcome{}) })
	if err == nil {
		t.Error("half a record gave no error")
	}
	n.ended(t, "c2", "after")
	_ = n.Close()
	log := &program.Buffer{}
	n = openNotes(t, n.path, agent.JournalOptions{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if n.said("c2") != "after" || log.String() != "" {
		t.Errorf("c2 ended as %q; the log says %s", n.said("c2"), log)
	}
}

func TestAnIntentNeedsACommandUnlessItIsAStop(t *testing.T) {
	n := openNotes(t, journalPath(t), agent.JournalOptions{})
	if err := n.Intend(agent.Intent{Action: models.ActionStartSession}); err == nil {
		t.Error("there was no error")
	}
}

// FuzzJournal opens whatever may lie on a disk: it never panics, and what it
// makes of it stays the same and can be added to.
func FuzzJournal(f *testing.F) {
	path := journalPath(f)
	n := openNotes(f, path, agent.JournalOptions{})
	n.began(f, "c1", models.ActionStopSession, "s", 2)
	n.ended(f, "c1", "terminated")
	content, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add(content[:len(content)-7])
	f.Add(append(bytes.Clone(content), 0, 0, 0, 0))
	f.Add(append([]byte("\n\n"), content...))
	f.Add(bytes.ReplaceAll(content, []byte("\n"), []byte("\r\n")))
	f.Add([]byte("00000000 \n"))
	f.Add([]byte("00000000 null"))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		journal, err := agent.OpenJournal(path, agent.JournalOptions{})
		if err != nil {
			return
		}
		n := &notes{Journal: journal}
		before, stopped := n.said("c1"), n.Stopped("s")
		n.ended(t, "added", "well")
		_ = n.Close()
		again := openNotes(t, path, agent.JournalOptions{})
		if again.said("c1") != before || again.Stopped("s") != stopped || again.said("added") != "well" {
			t.Errorf("it said %q, %d; then %q, %d, %q", before, stopped, again.said("c1"), again.Stopped("s"), again.said("added"))
		}
	})
}
