package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// journalVersion is that of the format. A reader refuses higher ones.
const journalVersion = 1

// The kinds of record.
const (
	kindJournal = "journal" // the first record: the format's version
	kindIntent  = "intent"  // a command that is about to be carried out
	kindOutcome = "outcome" // how it ended
	kindStopped = "stopped" // a session is not to run in this generation or below
	kindTold    = "told"    // the control plane knows how it ended
)

// record is one line of the journal.
type record struct {
	Kind    string `json:"kind"`
	Version int    `json:"version,omitempty"`
	// At is for people and decides nothing.
	At         time.Time `json:"at,omitzero"`
	CommandID  string    `json:"commandId,omitempty"`
	Action     string    `json:"action,omitempty"`
	SessionID  string    `json:"sessionId,omitempty"`
	Generation int64     `json:"generation,omitempty"`
	Outcome    *Outcome  `json:"outcome,omitempty"`
	// Ended is what is to be told of a stopped session.
	Ended *wire.Status `json:"ended,omitempty"`
}

// checksum is CRC-32C, which finds the damage that disks and torn writes do
// (RFC 3720, 12.1).
func checksum(content []byte) uint32 {
	return crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli))
}

// encodeRecord makes a line: the checksum as eight hex digits, a space, JSON.
// JSON has no raw line break, so a line that is damaged takes no other along.
func encodeRecord(r record) ([]byte, error) {
	content, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", checksum(content), content), nil
}

func decodeRecord(line []byte) (r record, intact bool) {
	sum, content, found := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if !found || len(sum) != 8 {
		return r, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != checksum(content) {
		return r, false
	}
	return r, json.Unmarshal(content, &r) == nil
}

// memory is what the journal says, as far as it is kept.
type memory struct {
	// commands are those whose intent is known; nil while there is no outcome.
	commands *recent[*record]
	// stopped is the highest generation of each session that is not to run.
	stopped *recent[int64]
	// untold are the ends that the control plane may not have, by session.
	untold *recent[wire.Status]
}

func newMemory(keep int) memory {
	return memory{commands: newRecent[*record](keep), stopped: newRecent[int64](keep), untold: newRecent[wire.Status](keep)}
}

func (m memory) apply(r record) {
	if (r.Kind == kindIntent || r.Kind == kindOutcome) && r.CommandID != "" {
		m.commands.put(r.CommandID, &r)
	}
	if r.Kind == kindStopped || r.Kind == kindIntent && models.Ends(r.Action) {
		if before, _ := m.stopped.get(r.SessionID); r.Generation > before {
			m.stopped.put(r.SessionID, r.Generation)
		}
	}
	if r.Kind == kindStopped && r.Ended != nil {
		m.untold.put(r.SessionID, *r.Ended)
	}
	if ended, waits := m.untold.get(r.SessionID); waits && r.Kind == kindTold && ended.Generation <= r.Generation {
		m.untold.remove(r.SessionID)
	}
}

// encode gives all that is kept as a whole journal.
func (m memory) encode(now time.Time) ([]byte, error) {
	var lines []byte
	put := func(r record) error {
		line, err := encodeRecord(r)
		lines = append(lines, line...)
		return err
	}
	err := put(record{Kind: kindJournal, Version: journalVersion, At: now})
	for sessionID, generation := range m.stopped.all() {
		if err == nil {
			err = put(record{Kind: kindStopped, SessionID: sessionID, Generation: generation})
		}
	}
	for sessionID, ended := range m.untold.all() {
		if err == nil {
			err = put(record{Kind: kindStopped, SessionID: sessionID, Generation: ended.Generation, Ended: &ended})
		}
	}
	for _, command := range m.commands.all() {
		if err == nil {
			err = put(*command)
		}
	}
	return lines, err
}

// reading is what was found in a journal's file.
type reading struct {
	memory  memory
	records int
	// damaged counts the lines that are not records although records follow;
	// torn those at the end, which a crash leaves.
	damaged, torn int
	// newer is a version that this program does not read, or 0.
	newer int
}

func readRecords(content []byte, keep int) reading {
	read := reading{memory: newMemory(keep)}
	for line := range bytes.Lines(content) {
		r, intact := decodeRecord(line)
		if !intact {
			read.torn++
			continue
		}
		read.records++
		read.damaged, read.torn = read.damaged+read.torn, 0
		if r.Kind == kindJournal && r.Version > journalVersion {
			read.newer = r.Version
		}
		read.memory.apply(r)
	}
	return read
}
