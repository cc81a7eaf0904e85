package agent

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

const (
	// inventoryWithin is shorter than the 10 s for which the control plane lets
	// a session that has just started be absent from an inventory: a list that
	// took longer could miss it.
	inventoryWithin = 5 * time.Second
	// facilitiesWithin bounds the look for what the machine has.
	facilitiesWithin = 10 * time.Second
	// repeatAfter is the wait after the driver failed to answer.
	repeatAfter = 5 * time.Second
)

// report tells of the agent, its machine and its sessions for as long as the
// connection lasts. Heartbeats wait for nothing that the driver does.
func (a *Agent) report(c *connection, every time.Duration, needs []string) {
	c.parts.Go(func() { a.beat(c, every) })
	c.parts.Go(func() { a.takeInventories(c, needs) })
}

func (a *Agent) beat(c *connection, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		c.send(wire.TypeHeartbeat, wire.Heartbeat{
			Status: models.AgentOnline, ActiveSessions: a.census.count(), Capacity: a.capacity,
		})
		select {
		case <-c.over.Done():
			return
		case <-ticker.C:
		}
	}
}

// takeInventories sends what ended meanwhile, what the machine has, and what
// runs, in this order, and repeats the latter two: people install programs
// and apply templates while the agent runs.
func (a *Agent) takeInventories(c *connection, needs []string) {
	a.exits.connected(c)
	var told []string
	for {
		wait := jittered(a.config.InventoryEvery, 0.1)
		told = a.tellFacilities(c, needs, told)
		if err := a.takeInventory(c); err != nil && c.over.Err() == nil {
			a.config.Logger.Error("the sessions that run here cannot be listed", "error", err)
			wait = min(wait, repeatAfter)
		}
		select {
		case <-c.over.Done():
			return
		case <-time.After(wait):
		case needs = <-c.changed:
		}
	}
}

// tellFacilities sends what the machine has, if that is not what was told on
// this connection, and gives what was told last. Nil is nothing yet.
func (a *Agent) tellFacilities(c *connection, needs, told []string) []string {
	if !c.negotiated {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.over, facilitiesWithin)
	defer cancel()
	present, err := a.config.Driver.Facilities(ctx, needs)
	if err != nil {
		if c.over.Err() == nil {
			a.config.Logger.Error("what this machine has cannot be found out", "error", err)
		}
		return told
	}
	if told == nil || !slices.Equal(present, told) {
		told = append([]string{}, present...) // having none is told as well
		c.send(wire.TypeFacilities, wire.Facilities{Present: told})
	}
	return told
}

// list has the driver list what runs, and gives that with what such a list may
// miss. There is one at a time, so that none replaces a newer one.
func (a *Agent) list(ctx context.Context) ([]driver.Ref, error) {
	ctx, cancel := context.WithTimeout(ctx, inventoryWithin)
	defer cancel()
	select {
	case a.listing <- struct{}{}:
		defer func() { <-a.listing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	began := time.Now()
	runtimes, err := a.config.Driver.Inventory(ctx)
	if err != nil {
		return nil, err
	}
	return a.census.replace(runtimes, began), nil
}

func (a *Agent) takeInventory(c *connection) error {
	running, err := a.list(c.over)
	if err != nil || !c.negotiated {
		return err
	}
	items := make([]wire.InventoryItem, 0, len(running))
	for _, ref := range running {
		// Asked after the list was made: what is not starting any more has started.
		state := models.SessionRunning
		if a.executor.starting(ref) || a.census.starting(ref) {
			state = models.SessionPending
		}
		items = append(items, wire.InventoryItem{SessionID: ref.SessionID, Generation: ref.Generation, State: string(state)})
	}
	a.exits.inventoried()
	c.send(wire.TypeInventory, wire.Inventory{Items: items})
	return nil
}

// capacity is what the agent says it has. What it does not say is allocatable of
// CPU and memory is not limited: sessions of one machine share what they do not
// use.
func capacity(maxSessions int, allocatable map[string]string) map[string]any {
	may := map[string]any{}
	for name, quantity := range allocatable {
		may[name] = quantity
	}
	has := map[string]any{"cpu": strconv.Itoa(runtime.NumCPU()), "allocatable": may}
	if maxSessions > 0 {
		has["maxSessions"] = maxSessions
	}
	if memory := machineMemory(); memory != "" {
		has["memory"] = memory
	}
	return has
}

// machineMemory gives the machine's memory as a quantity, and nothing on
// systems that do not tell as Linux does (proc_meminfo(5)).
func machineMemory() string {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		var kibibytes int64
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kibibytes); err == nil {
			return strconv.FormatInt(kibibytes, 10) + "Ki"
		}
	}
	return ""
}

// census counts the sessions that run, for heartbeats, without asking the
// driver. Each inventory corrects it. Safe for concurrent use.
type census struct {
	mu      sync.Mutex
	running map[driver.Ref]presence
	// counted tells that there has been an inventory.
	counted bool
}

// presence is a runtime that runs.
type presence struct {
	driver.Runtime
	// since is when it was started or first listed.
	since time.Time
	// held tells that its end is to be told before it is missed.
	held bool
}

func newCensus() *census { return &census{running: map[driver.Ref]presence{}} }

func (c *census) started(runtime driver.Runtime) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[runtime.Ref] = presence{Runtime: runtime, since: time.Now()}
}

// hold keeps the runtime in inventories until it is stopped, whether the driver
// lists it or not, and tells whether that is new.
func (c *census) hold(ref driver.Ref) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.running[ref]
	held := one.held
	one.Ref, one.held = ref, true
	c.running[ref] = one
	return !held
}

// list gives what runs, and whether that is all.
func (c *census) list() (all []driver.Runtime, counted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.running {
		all = append(all, one.Runtime)
	}
	return all, c.counted
}

// stopped forgets the session up to ref's generation.
func (c *census) stopped(ref driver.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.running {
		if other.SessionID == ref.SessionID && other.Generation <= ref.Generation {
			delete(c.running, other)
		}
	}
}

// replace takes a list that was begun at the given time, and gives what runs:
// the list, and what was started since then or is held. The list may have missed
// that, and the control plane, which may already know of it, would take it for
// lost.
func (c *census) replace(runtimes []driver.Runtime, began time.Time) (running []driver.Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.running
	c.counted = true
	c.running = make(map[driver.Ref]presence, len(runtimes))
	for _, runtime := range runtimes {
		one, known := before[runtime.Ref]
		if !known {
			one.since = began
		}
		one.Runtime = runtime
		c.running[runtime.Ref] = one
		running = append(running, runtime.Ref)
	}
	for ref, one := range before {
		if _, listed := c.running[ref]; !listed && (one.held || !one.since.Before(began)) {
			c.running[ref] = one
			running = append(running, ref)
		}
	}
	return running
}

// starting tells that the session was last seen to be in the middle of a start.
func (c *census) starting(ref driver.Ref) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running[ref].Starting
}

func (c *census) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.running)
}
