package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// DefaultJournalKeep is far more than one agent can have unanswered, and about
// 2 MiB of journal.
const DefaultJournalKeep = 4096

// compactSlack is how much a journal may grow beyond twice what is kept before
// it is written anew, in bytes.
const compactSlack = 1 << 20

// JournalOptions configure a Journal. The zero value of a field means its
// default.
type JournalOptions struct {
	// Keep is how many commands, how many stopped sessions and how many ends to
	// be told are remembered, the latest of each; DefaultJournalKeep.
	Keep int
	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock of what is written; time.Now.
	Now func() time.Time
	// Sync puts what was written to a file on disk; (*os.File).Sync. A
	// simulation of crashes keeps account here of what survives one.
	Sync func(*os.File) error
}

// Intent is something that is about to be done.
type Intent struct {
	// CommandID is empty when no command asks for it.
	CommandID string
	// Action is one of the models.Action… names. A stop also says that the
	// session is not to run in ref's generation or below, from then on.
	Action string
	driver.Ref
	// Ended is what is to be told of a session that the agent stops by itself;
	// it is remembered until Told.
	Ended *wire.Status
}

// Outcome is how a command ended.
type Outcome struct {
	Completed bool                  `json:"completed"`
	Result    models.CommandPayload `json:"result,omitempty"`
	// Error, Code and Retryable tell of a failure.
	Error     string           `json:"error,omitempty"`
	Code      models.ErrorCode `json:"code,omitempty"`
	Retryable bool             `json:"retryable,omitempty"`
	// Lingers tells that something of a start that failed may run all the same.
	Lingers bool `json:"lingers,omitempty"`
}

func (o Outcome) superseded() bool { return o.Result["superseded"] == true }

// Journal remembers, through any crash, which commands were begun and how they
// ended, and which sessions are not to run any more.
//
// It is a file of one record a line, each with a checksum, that is appended to
// and synced; appends that wait at the same time share one sync. When much of
// it is outdated it is written anew beside and renamed. A line that is damaged
// is left out and reported: what is forgotten with it is at worst done again,
// which finds itself done. After a failed write the file cannot be trusted (what
// the system could not write it may have dropped), so everything that is
// remembered is written anew, until that succeeds.
//
// One process at a time may use the file. Safe for concurrent use.
type Journal struct {
	path    string
	options JournalOptions

	// turn is held by the one goroutine that writes. It guards file, size,
	// compactAt and broken.
	turn      chan struct{}
	file      *os.File
	size      int
	compactAt int
	broken    bool

	// mu guards memory, which changes only in a turn, and next.
	mu     sync.Mutex
	memory memory
	next   *batch
}

// batch is appended with one write and one sync.
type batch struct {
	lines   []byte
	records []record
	// taken tells, to whoever has the turn, that it is written or being so.
	taken bool
	// done is closed once err says how it went.
	done chan struct{}
	err  error
}

// OpenJournal opens the journal at path, or makes an empty one. A file in which
// nothing is a record is not touched and gives an error, and so does one that a
// newer version wrote.
func OpenJournal(path string, options JournalOptions) (*Journal, error) {
	if options.Keep <= 0 {
		options.Keep = DefaultJournalKeep
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Sync == nil {
		options.Sync = (*os.File).Sync
	}
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open the agent's journal: %w", err)
	}
	read := readRecords(content, options.Keep)
	switch {
	case read.newer > 0:
		return nil, fmt.Errorf("open the agent's journal: %s has format %d, this version reads %d; run the newer version", path, read.newer, journalVersion)
	case len(content) > 0 && read.records == 0:
		return nil, fmt.Errorf("open the agent's journal: %s is no journal; move it away, and a new one is made", path)
	case read.damaged > 0:
		options.Logger.Error("the journal is damaged, some of it is lost", "path", path, "lines", read.damaged, "records", read.records)
	case read.torn > 0:
		options.Logger.Info("the journal's last write was cut off", "path", path, "lines", read.torn)
	}
	j := &Journal{path: path, options: options, turn: make(chan struct{}, 1), memory: read.memory, next: newBatch()}
	// Written anew it has no cut-off line for the next record to end up in.
	if err := j.rewrite(nil); err != nil {
		if j.file != nil {
			_ = j.file.Close() // the error that counts is told
		}
		return nil, fmt.Errorf("open the agent's journal: %w", err)
	}
	return j, nil
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// Intend returns once the intent is on disk. After an error it is not known to
// be, and what it says must not be done.
func (j *Journal) Intend(intent Intent) error {
	r := record{Kind: kindIntent, CommandID: intent.CommandID, Action: intent.Action,
		SessionID: intent.SessionID, Generation: intent.Generation, Ended: intent.Ended}
	if intent.CommandID == "" {
		r.Kind = kindStopped
		if intent.Action != models.ActionStopSession {
			return fmt.Errorf("journal %s of session %q: it needs a command id", intent.Action, intent.SessionID)
		}
	}
	return j.append(r)
}

// Conclude returns once the outcome is on disk. After an error the journal
// still answers with it, until the process ends.
func (j *Journal) Conclude(commandID string, outcome Outcome) error {
	return j.append(record{Kind: kindOutcome, CommandID: commandID, Outcome: &outcome})
}

// Outcome gives how a command ended, if it has and that is remembered.
func (j *Journal) Outcome(commandID string) (outcome Outcome, ended bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	command, known := j.memory.commands.get(commandID)
	if !known || command.Outcome == nil {
		return Outcome{}, false
	}
	return *command.Outcome, true
}

// Stopped gives the highest generation in which the session was to be stopped,
// or 0.
func (j *Journal) Stopped(sessionID string) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	generation, _ := j.memory.stopped.get(sessionID)
	return generation
}

// Untold gives the ends of sessions that the agent stops by itself, of which it
// is not certain that they have happened and that the control plane has them.
func (j *Journal) Untold() (ends []wire.Status) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, ended := range j.memory.untold.all() {
		ends = append(ends, ended)
	}
	return ends
}

// Told forgets such an end, once that is on disk.
func (j *Journal) Told(ref driver.Ref) error {
	return j.append(record{Kind: kindTold, SessionID: ref.SessionID, Generation: ref.Generation})
}

// Close closes the file. Nothing may be appended at the same time or later.
func (j *Journal) Close() error {
	if err := j.file.Close(); err != nil {
		return fmt.Errorf("close the agent's journal: %w", err)
	}
	return nil
}

// append adds a record to the batch that is written next, and sees to it that
// it is written: by whoever gets the turn first.
func (j *Journal) append(r record) error {
	r.At = j.options.Now().UTC()
	line, err := encodeRecord(r)
	if err != nil {
		return fmt.Errorf("append to the agent's journal: %w", err)
	}
	j.mu.Lock()
	mine := j.next
	mine.lines = append(mine.lines, line...)
	mine.records = append(mine.records, r)
	j.mu.Unlock()
	select {
	case <-mine.done:
	case j.turn <- struct{}{}:
		if !mine.taken {
			j.write()
		}
		<-j.turn
		<-mine.done
	}
	if mine.err != nil {
		return fmt.Errorf("append to the agent's journal: %w", mine.err)
	}
	return nil
}

// write writes the next batch. The caller has the turn.
func (j *Journal) write() {
	j.mu.Lock()
	b := j.next
	b.taken, j.next = true, newBatch()
	j.mu.Unlock()

	b.err = j.store(b.lines)
	j.mu.Lock()
	for _, r := range b.records {
		if b.err == nil || r.Kind == kindOutcome {
			j.memory.apply(r)
		}
	}
	j.mu.Unlock()
	close(b.done)

	if b.err == nil && j.size > j.compactAt {
		if err := j.rewrite(nil); err != nil {
			j.options.Logger.Error("the journal cannot be made smaller", "path", j.path, "error", err)
		}
	}
}

// store puts lines on disk.
func (j *Journal) store(lines []byte) error {
	if j.broken {
		return j.rewrite(lines)
	}
	_, err := j.file.Write(lines)
	//failpoint:journal-unsynced
	if err == nil {
		err = j.options.Sync(j.file)
	}
	if err != nil {
		j.options.Logger.Error("the journal cannot be appended to, it is written anew", "path", j.path, "error", err)
		return j.rewrite(lines)
	}
	j.size += len(lines)
	return nil
}

// rewrite replaces the file by one with what is remembered, and lines after
// that. When it fails the journal is broken, for the file may be either one.
func (j *Journal) rewrite(lines []byte) error {
	j.broken = true
	j.mu.Lock()
	content, err := j.memory.encode(j.options.Now().UTC())
	j.mu.Unlock()
	if err != nil {
		return err
	}
	content = append(content, lines...)
	file, err := replaceFile(j.path, content, j.options.Sync)
	if file != nil {
		if j.file != nil {
			_ = j.file.Close() // its content counts no more
		}
		j.file = file
	}
	if err != nil {
		return err
	}
	j.broken, j.size, j.compactAt = false, len(content), 2*len(content)+compactSlack
	return nil
}

// replaceFile puts content at path, whole or not at all, and gives the file
// open for appending. It gives the file with an error too when the new one is
// in place, but possibly not for good.
func replaceFile(path string, content []byte, sync func(*os.File) error) (*os.File, error) {
	beside := path + ".new"
	file, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = file.Write(content); err == nil {
		err = sync(file)
	}
	if err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, syncDir(filepath.Dir(path))
}

// syncDir makes a rename in the directory last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
