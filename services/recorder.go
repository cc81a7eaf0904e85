package services

import (
	"context"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

const (
	// recordBatch bounds the commands of one transaction. Beyond some hundreds
	// larger ones win nothing, and hold locks for longer.
	recordBatch = 1000
	// recordWaiting bounds what waits to be written. When it is reached, whoever
	// brings more waits, and with it the agents' sockets.
	recordWaiting = 5 * recordBatch
	// recordLinger is how long the news that a command was sent or acknowledged
	// waits for the news of its end, so that both are one write. Nobody waits
	// for the former.
	recordLinger = 20 * time.Millisecond
	// recordRetry and recordRetryMax are the waits after a failed write.
	recordRetry    = 50 * time.Millisecond
	recordRetryMax = 2 * time.Second
	// recordTries is how often a batch is tried while the dispatcher stops, and
	// one command alone while the database answers all others.
	recordTries = 3
)

// recorders share the agents among them: what one agent says is written by one
// recorder, in order, and PostgreSQL works for several at once. SQLite has one
// writer.
type recorders []*recorder

// postgresRecorders keeps two of the server's processors busy, and more would
// make smaller batches.
const postgresRecorders = 2

func newRecorders(database *db.Database, logger *slog.Logger, now func() time.Time, settled func(db.Transition, db.Written)) recorders {
	count := 1
	if database.Engine() == db.Postgres {
		count = postgresRecorders
	}
	all := make(recorders, count)
	for i := range all {
		all[i] = newRecorder(database, logger, now, settled)
	}
	return all
}

// of gives the recorder of an agent.
func (r recorders) of(agentID string) *recorder {
	if len(r) == 1 {
		return r[0]
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(agentID)) // never fails
	return r[hash.Sum32()%uint32(len(r))]
}

// unwritten counts what waits to be written.
func (r recorders) unwritten() int {
	count := 0
	for _, one := range r {
		count += one.unwritten()
	}
	return count
}

// counts gives the transactions so far.
func (r recorders) counts() (total batchCounts) {
	for _, one := range r {
		counts := one.counts()
		total.batches += counts.batches
		total.rows += counts.rows
		total.failures += counts.failures
	}
	return total
}

// recordKey is a command on one connection.
type recordKey struct {
	commandID string
	epoch     int64
}

// record is what is known of one command and not written yet.
type record struct {
	db.Transition
	since time.Time
}

// recorder writes what became of commands, many in one transaction: while one
// is under way the next gathers. What is said of one command is one write. It
// is kept in memory until then, which is safe: after a crash the row says less
// than is true, the command is sent again, and the agent answers again.
type recorder struct {
	database *db.Database
	logger   *slog.Logger
	now      func() time.Time
	// settled hears of each written transition.
	settled func(db.Transition, db.Written)

	mu      sync.Mutex
	waiting map[recordKey]*record
	order   []recordKey
	// agents are the agents of all that is unwritten, which is what waits and
	// what the transaction under way writes.
	agents map[recordKey]string
	ends   int
	// hurry is set while somebody waits for what lingers.
	hurry bool
	// room is closed when something was taken to be written, done when something
	// has been.
	room, done chan struct{}
	wake       chan struct{}
	stopped    bool
	batches    batchCounts
}

// batchCounts tell of the recorder's transactions.
type batchCounts struct {
	batches, rows, failures uint64
}

func newRecorder(database *db.Database, logger *slog.Logger, now func() time.Time, settled func(db.Transition, db.Written)) *recorder {
	return &recorder{database: database, logger: logger, now: now, settled: settled,
		waiting: map[recordKey]*record{}, agents: map[recordKey]string{},
		room: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// note takes what became of a command. It waits while too much is unwritten,
// and fails once the recorder has stopped.
func (r *recorder) note(ctx context.Context, transition db.Transition) error {
	for {
		room, err := r.add(transition)
		if room == nil {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// add takes the transition, or gives what to wait for.
func (r *recorder) add(transition db.Transition) (room <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return nil, &models.Error{Code: models.CodeUnavailable, Retryable: true, Message: "the control plane is stopping; say it again after reconnecting"}
	}
	key := recordKey{transition.CommandID, transition.Epoch}
	known := r.waiting[key]
	if known == nil {
		if len(r.waiting) >= recordWaiting {
			return r.room, nil
		}
		known = &record{Transition: db.Transition{CommandID: transition.CommandID, AgentID: transition.AgentID, Epoch: transition.Epoch},
			since: time.Now()}
		r.waiting[key] = known
		r.agents[key] = transition.AgentID
		r.order = append(r.order, key)
	}
	if transition.End != nil && known.End == nil {
		r.ends++
	}
	merge(&known.Transition, transition)
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return nil, nil
}

// merge adds what is said of a command to what is known. The first word on
// each thing counts, as it would in the database.
func merge(known *db.Transition, said db.Transition) {
	if known.Known == nil {
		known.Known = said.Known
	}
	known.Sends += said.Sends
	if known.SentAt.IsZero() {
		known.SentAt = said.SentAt
	}
	if known.AckedAt.IsZero() {
		known.AckedAt = said.AckedAt
	}
	if known.End == nil {
		known.End = said.End
	}
}

// holds tells whether something that was said of the command on the connection
// is not in the database yet.
func (r *recorder) holds(commandID string, epoch int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, unwritten := r.agents[recordKey{commandID, epoch}]
	return unwritten
}

// unwritten counts what waits to be written.
func (r *recorder) unwritten() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.agents)
}

// counts gives the transactions so far.
func (r *recorder) counts() batchCounts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.batches
}

// run writes until stop is closed, then everything that is left, and lets
// nothing more in.
func (r *recorder) run(stop <-chan struct{}) {
	for {
		select {
		case <-r.wake:
		case <-stop:
			r.finish()
			return
		}
		for r.gather(stop) {
			r.write(r.take(false), stop)
		}
	}
}

// gather waits until there is something to write, and gives false when there
// is nothing or the recorder is to stop.
func (r *recorder) gather(stop <-chan struct{}) bool {
	for {
		due, some := r.due()
		if !some {
			return false
		}
		wait := time.Until(due)
		if wait <= 0 {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-r.wake:
		case <-timer.C:
		case <-stop:
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}

// due is when the next write is to begin.
func (r *recorder) due() (due time.Time, some bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.order) == 0 {
		return time.Time{}, false
	}
	if r.ends > 0 || r.hurry || len(r.waiting) >= recordWaiting {
		return time.Time{}, true
	}
	return r.waiting[r.order[0]].since.Add(recordLinger), true
}

// take takes a batch to be written: ends, and what has lingered, in the order
// in which it was first heard of; everything when the recorder stops or is full.
func (r *recorder) take(everything bool) []db.Transition {
	r.mu.Lock()
	defer r.mu.Unlock()
	lingered := time.Now().Add(-recordLinger)
	everything = everything || r.hurry || len(r.waiting) >= recordWaiting
	batch := make([]db.Transition, 0, min(len(r.order), recordBatch))
	taken := make(map[string]bool, cap(batch))
	left := r.order[:0]
	for _, key := range r.order {
		one := r.waiting[key]
		ripe := everything || one.End != nil || !one.since.After(lingered)
		if len(batch) == recordBatch || !ripe || taken[key.commandID] {
			left = append(left, key)
			continue
		}
		taken[key.commandID] = true
		batch = append(batch, one.Transition)
		delete(r.waiting, key)
		if one.End != nil {
			r.ends--
		}
	}
	r.order = left
	r.hurry = r.hurry && len(left) > 0
	close(r.room)
	r.room = make(chan struct{})
	return batch
}

// write writes a batch, again until it succeeds or stop is closed.
func (r *recorder) write(batch []db.Transition, stop <-chan struct{}) {
	if len(batch) == 0 {
		return
	}
	wait := recordRetry
	refused := 0 // in a row, by a database that works
	for try := 1; ; try++ {
		err := r.transact(batch)
		if err == nil {
			return
		}
		r.logger.Error("write what became of commands", "commands", len(batch), "try", try, "error", err)
		refused++
		if models.CodeOf(err) == models.CodeUnavailable || r.database.Ping(context.Background()) != nil {
			refused = 0
		}
		if refused >= recordTries {
			// So something in the batch is what it refuses.
			r.divide(batch, stop)
			return
		}
		timer := time.NewTimer(wait + rand.N(wait))
		select {
		case <-timer.C:
		case <-stop:
			timer.Stop()
			if try >= recordTries {
				r.drop(batch)
				return
			}
		}
		wait = min(2*wait, recordRetryMax)
	}
}

// divide writes each half of a batch that was refused, and gives up a command
// that is refused alone: its row stays, and its deadline ends it.
func (r *recorder) divide(batch []db.Transition, stop <-chan struct{}) {
	if len(batch) > 1 {
		r.write(batch[:len(batch)/2], stop)
		r.write(batch[len(batch)/2:], stop)
		return
	}
	r.logger.Error("what became of a command cannot be written", "command", batch[0].CommandID, "agent", batch[0].AgentID)
	r.drop(batch)
}

// transact writes a batch in one transaction.
func (r *recorder) transact(batch []db.Transition) error {
	//failpoint:status-unwritten
	written, err := r.database.WriteTransitions(context.Background(), batch, r.now())
	r.mu.Lock()
	if err != nil {
		r.batches.failures++
		r.mu.Unlock()
		return err
	}
	//failpoint:status-written
	r.batches.batches++
	r.batches.rows += uint64(len(batch))
	r.mu.Unlock()
	r.drop(batch)
	for i, transition := range batch {
		r.settled(transition, written[i])
	}
	return nil
}

// drop forgets what has been written, or will never be.
func (r *recorder) drop(batch []db.Transition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, transition := range batch {
		key := recordKey{transition.CommandID, transition.Epoch}
		if r.waiting[key] == nil { // more may have been said of it meanwhile
			delete(r.agents, key)
		}
	}
	close(r.done)
	r.done = make(chan struct{})
}

// settle waits until what was noted of the agent's commands before is in the
// database.
func (r *recorder) settle(ctx context.Context, agentID string) error {
	keys, done := r.of(agentID)
	for len(keys) > 0 {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
		keys, done = r.still(keys)
	}
	return nil
}

// of gives what is unwritten of an agent, and has it written now.
func (r *recorder) of(agentID string) (keys []recordKey, done <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, agent := range r.agents {
		if agent == agentID {
			keys = append(keys, key)
		}
	}
	if len(keys) > 0 {
		r.hurry = true
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	return keys, r.done
}

// still gives those of keys that are unwritten still.
func (r *recorder) still(keys []recordKey) (left []recordKey, done <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range keys {
		if _, unwritten := r.agents[key]; unwritten {
			left = append(left, key)
		}
	}
	return left, r.done
}

// abandon lets nothing more in, and forgets what was never written because run
// never ran. Nobody waits any more then.
func (r *recorder) abandon() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	for batch := r.take(true); len(batch) > 0; batch = r.take(true) {
		r.drop(batch)
	}
}

// finish lets nothing more in and writes what is left.
func (r *recorder) finish() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	closed := make(chan struct{})
	close(closed)
	for {
		batch := r.take(true)
		if len(batch) == 0 {
			return
		}
		r.write(batch, closed)
	}
}
