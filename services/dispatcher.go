package services

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// The dispatcher's defaults.
const (
	DefaultWorkers   = 10
	DefaultQueueSize = 1000
	DefaultPollEvery = time.Second
	// DefaultWindow is below the hub's queue of frames for one socket.
	DefaultWindow    = 200
	DefaultAckWithin = 10 * time.Second
)

// DispatcherOptions configure a CommandDispatcher. The zero value of a field
// means its default.
type DispatcherOptions struct {
	// Workers is how many commands are sent at once; DefaultWorkers.
	Workers int
	// QueueSize bounds the queue; DefaultQueueSize.
	QueueSize int
	// PollEvery is how often the database is asked for what no hint told of,
	// and for commands past their deadline, give or take a tenth;
	// DefaultPollEvery.
	PollEvery time.Duration
	// Window bounds the commands that one agent has been sent and has not
	// acknowledged; DefaultWindow.
	Window int
	// AckWithin is how long an agent may take to acknowledge a command before it
	// is sent again on the same connection: then after twice as long, and so on
	// up to two minutes, give or take a fifth; DefaultAckWithin.
	AckWithin time.Duration
	// CommandDeadline and WaitFor are for lost sessions that are begun again: how
	// long their start may take, DefaultCommandDeadline, and how long they wait
	// for an agent, DefaultWaitFor.
	CommandDeadline, WaitFor time.Duration
	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock of what is written, and of deadlines; time.Now.
	Now func() time.Time
}

// CommandDispatcher manages the queuing and dispatch of commands to agents.
//
// The queue holds hints. A worker takes many at once, claims the flows of their
// agents, reads from the database what was not sent on those agents'
// connections yet, and sends it in order. Only the replica that an agent is
// connected to sends its commands. A command for an agent that is not connected
// stays pending in the database and is sent when the agent connects. What
// becomes of commands is written many in one transaction. Safe for concurrent
// use.
type CommandDispatcher struct {
	database *db.Database
	hub      *websocket.AgentHub
	options  DispatcherOptions
	counters counters

	queue     chan hint
	flows     *flows
	recorders recorders
	// notices are agents of other replicas that have new commands.
	notices chan string
	// wake asks the poller not to wait for its next turn.
	wake chan struct{}
	// rest is set when a poll had no room for all that it found: to the count
	// of sends at that time.
	rest atomic.Pointer[uint64]

	stopChan chan struct{}
	stopOnce sync.Once
	// running is held while the worker pool runs, so that Stop can wait for it.
	running sync.WaitGroup
	mu      sync.Mutex
	workers int
	started bool
	stopped bool
}

// NewCommandDispatcher makes a dispatcher with 10 workers and a queue of 1,000
// commands, and attaches it to the hub.
func NewCommandDispatcher(database *db.Database, hub *websocket.AgentHub) *CommandDispatcher {
	return NewCommandDispatcherWith(database, hub, DispatcherOptions{})
}

// NewCommandDispatcherWith makes a dispatcher and attaches it to the hub, so
// call it before the first agent connects.
func NewCommandDispatcherWith(database *db.Database, hub *websocket.AgentHub, options DispatcherOptions) *CommandDispatcher {
	if options.Workers <= 0 {
		options.Workers = DefaultWorkers
	}
	if options.QueueSize <= 0 {
		options.QueueSize = DefaultQueueSize
	}
	if options.PollEvery <= 0 {
		options.PollEvery = DefaultPollEvery
	}
	if options.Window <= 0 {
		options.Window = DefaultWindow
	}
	if options.AckWithin <= 0 {
		options.AckWithin = DefaultAckWithin
	}
	if options.CommandDeadline <= 0 {
		options.CommandDeadline = DefaultCommandDeadline
	}
	if options.WaitFor <= 0 {
		options.WaitFor = DefaultWaitFor
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	d := &CommandDispatcher{
		database: database,
		hub:      hub,
		options:  options,
		queue:    make(chan hint, options.QueueSize),
		flows:    newFlows(options.Window, options.AckWithin),
		notices:  make(chan string, options.QueueSize),
		wake:     make(chan struct{}, 1),
		stopChan: make(chan struct{}),
		workers:  options.Workers,
	}
	d.recorders = newRecorders(database, options.Logger, options.Now, d.settled)
	hub.Attach(d, wire.TypeAck, wire.TypeComplete, wire.TypeFailed, wire.TypeStatus)
	return d
}

// DispatchCommand queues a command for dispatch to an agent. It never waits
// for the agent.
//
// The command should already be created in the database with status pending;
// one that is not is created first. A command whose status says sent or ack is
// sent again, under the same id. One that has ended needs nothing and gives no
// error.
//
// Errors: models.CodeInvalidRequest for a command without id, agent or action,
// or with the id of another command; models.CodeQueueFull, after which the
// command stays in the database and is sent when there is room;
// models.CodeStopped after Stop.
func (d *CommandDispatcher) DispatchCommand(command *models.AgentCommand) error {
	if err := checkCommand(command); err != nil {
		return err
	}
	if d.isStopped() {
		return errStopped()
	}
	row, err := d.ensureRow(context.Background(), command)
	if err != nil {
		return err
	}
	if row.Status == models.CommandCompleted || row.Status == models.CommandFailed {
		return nil
	}
	again := command.Status == models.CommandSent || command.Status == models.CommandAck
	d.elsewhere(row.AgentID)
	if !d.offer(hint{agentID: row.AgentID, commandID: row.CommandID, again: again}) {
		return &models.Error{Code: models.CodeQueueFull, Retryable: true, Message: "the queue of commands is full; " +
			"the command is kept and is sent when there is room"}
	}
	return nil
}

// DispatchPendingCommands retrieves all pending commands from the database and
// queues them for dispatch, as after a restart of the control plane. Those that
// find no room in the queue stay pending, without error: the workers come to
// them when the queue has drained and their agent is connected.
func (d *CommandDispatcher) DispatchPendingCommands() error {
	if d.isStopped() {
		return errStopped()
	}
	defer d.awake()
	commands, err := d.pending(context.Background(), cap(d.queue)-len(d.queue))
	if err != nil {
		return fmt.Errorf("dispatch pending commands: %w", err)
	}
	for _, command := range slices.Backward(commands) { // oldest first
		if !d.offer(hint{agentID: command.AgentID, commandID: command.CommandID}) {
			return nil
		}
	}
	return nil
}

// pending reads pending commands, newest first, limit of them at most.
func (d *CommandDispatcher) pending(ctx context.Context, limit int) (commands []models.AgentCommand, err error) {
	var page db.Page
	for limit > len(commands) {
		page.Limit = min(limit-len(commands), db.MaxPageSize)
		var more []models.AgentCommand
		more, page.Cursor, err = d.database.Commands(ctx, db.CommandFilter{Status: models.CommandPending}, page)
		commands = append(commands, more...)
		if err != nil || page.Cursor == "" {
			break
		}
	}
	return commands, err
}

// GetQueueCapacity returns the maximum capacity of the command queue.
func (d *CommandDispatcher) GetQueueCapacity() int { return cap(d.queue) }

// GetQueueLength returns the current number of commands in the queue.
func (d *CommandDispatcher) GetQueueLength() int { return len(d.queue) }

// SetWorkers configures the number of worker goroutines; less than one means
// one. It must be called before Start and changes nothing afterwards.
func (d *CommandDispatcher) SetWorkers(count int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.workers = max(count, 1)
}

// Start runs the worker pool and blocks until Stop is called, every worker has
// finished its current command, and what became of commands is written. After
// Stop it returns at once. Further calls start nothing and only wait.
func (d *CommandDispatcher) Start() {
	workers, first := d.begin()
	if !first {
		<-d.stopChan
		d.running.Wait()
		return
	}
	defer d.running.Done()
	var recording sync.WaitGroup
	workersDone := make(chan struct{})
	for _, one := range d.recorders {
		recording.Go(func() { one.run(workersDone) })
	}
	var pool sync.WaitGroup
	for range workers {
		pool.Go(d.work)
	}
	pool.Go(d.poll)
	pool.Go(d.tell)
	pool.Go(d.listen)
	pool.Wait()
	close(workersDone)
	recording.Wait()
}

// begin reports whether this call of Start is the one that runs the pool.
func (d *CommandDispatcher) begin() (workers int, first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started || d.stopped {
		return 0, false
	}
	d.started = true
	d.running.Add(1)
	return d.workers, true
}

// Stop signals the dispatcher to stop and waits until the workers have
// finished their current commands and what became of commands is written. What
// is still queued stays pending in the database, and what agents say from then
// on is refused: they say it again. Calling it twice, or before Start, is safe.
func (d *CommandDispatcher) Stop() {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.stopOnce.Do(func() { close(d.stopChan) })
	d.running.Wait()
	for _, one := range d.recorders {
		one.abandon()
	}
}

func (d *CommandDispatcher) isStopped() bool {
	select {
	case <-d.stopChan:
		return true
	default:
		return false
	}
}

// work is one worker.
func (d *CommandDispatcher) work() {
	for {
		// Stopping comes before the queue: select would choose at random.
		if d.isStopped() {
			return
		}
		select {
		case <-d.stopChan:
			return
		case queued := <-d.queue:
			d.serve(queued)
			if len(d.queue) == 0 {
				d.drained()
			}
		}
	}
}

// offer queues a hint unless the queue is full.
func (d *CommandDispatcher) offer(queued hint) bool {
	select {
	case d.queue <- queued:
		return true
	default:
		return false
	}
}

// expect tells the dispatcher of a command that its caller has just written.
// A hint that finds no room is dropped: polling finds the command.
func (d *CommandDispatcher) expect(command models.AgentCommand) {
	d.elsewhere(command.AgentID)
	d.offer(hint{agentID: command.AgentID, commandID: command.CommandID})
}

// again has a command that is in the database sent once more, also if its agent
// has it, and tells whether there was room for that in the queue.
func (d *CommandDispatcher) again(command models.AgentCommand) bool {
	d.elsewhere(command.AgentID)
	return d.offer(hint{agentID: command.AgentID, commandID: command.CommandID, again: command.Status != models.CommandPending})
}

// elsewhere has the other replicas told of an agent's new command, unless the
// agent is connected here. A notice that finds no room is dropped.
func (d *CommandDispatcher) elsewhere(agentID string) {
	if d.hub.IsAgentConnected(agentID) {
		return
	}
	select {
	case d.notices <- agentID:
	default:
	}
}

// awake makes the poller look now.
func (d *CommandDispatcher) awake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// jittered keeps replicas from polling in step.
func jittered(every time.Duration) time.Duration {
	return time.Duration(float64(every) * (0.9 + 0.2*rand.Float64()))
}
