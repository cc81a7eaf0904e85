package services_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// The documented names and signatures, to the letter. That this compiles is
// the test.
var (
	_ func(db *sql.DB, agentHub *websocket.AgentHub) *services.AgentSelector = services.NewAgentSelector
	_ interface {
		GetAgentInfo(ctx context.Context, agentID string) (*services.AgentInfo, error)
		SelectAgent(ctx context.Context, criteria *services.SelectionCriteria) (*services.AgentInfo, error)
	} = (*services.AgentSelector)(nil)
	_ func(database *db.Database, hub *websocket.AgentHub) *services.CommandDispatcher = services.NewCommandDispatcher
	_ interface {
		DispatchCommand(command *models.AgentCommand) error
		DispatchPendingCommands() error
		GetQueueCapacity() int
		GetQueueLength() int
		SetWorkers(count int)
		Start()
		Stop()
	} = (*services.CommandDispatcher)(nil)
	_ func(database *db.Database, agentHub *websocket.AgentHub, dispatcher *services.CommandDispatcher) *services.SessionReconciler = services.NewSessionReconciler
	_ interface {
		GetStats() (map[string]int, error)
		Start()
		Stop()
	} = (*services.SessionReconciler)(nil)

	_ func(database *db.Database) *websocket.AgentHub = websocket.NewAgentHub
	_ interface {
		Run()
		Stop()
		IsAgentConnected(agentID string) bool
		GetConnectedAgents() []string
		SendCommandToAgent(agentID string, command *models.AgentCommand) error
	} = (*websocket.AgentHub)(nil)
	_ interface{ DB() *sql.DB } = (*db.Database)(nil)
)

// documented is a control plane made by the documented constructors alone.
type documented struct {
	*world
	selector   *services.AgentSelector
	dispatcher *services.CommandDispatcher
	reconciler *services.SessionReconciler
}

func newDocumented(t *testing.T, database *db.Database) *documented {
	t.Helper()
	w := newWorld(t, database, services.DispatcherOptions{})
	dispatcher := services.NewCommandDispatcher(w.database, w.hub) // takes over from the world's own
	t.Cleanup(dispatcher.Stop)
	return &documented{
		world:      w,
		selector:   services.NewAgentSelector(w.database.DB(), w.hub),
		dispatcher: dispatcher,
		reconciler: services.NewSessionReconciler(w.database, w.hub, dispatcher),
	}
}

// documentedCommand is the example of the document.
func documentedCommand(n int) *models.AgentCommand {
	return &models.AgentCommand{
		CommandID: fmt.Sprintf("cmd-%d", n),
		AgentID:   "k8s-prod-us-east-1",
		Action:    "start_session",
		Payload:   &models.CommandPayload{"sessionId": fmt.Sprintf("sess-%d", n)},
		Status:    "pending",
	}
}

func TestContractAgentInfo(t *testing.T) {
	want := []struct {
		name, tag string
		kind      reflect.Type
	}{
		{"AgentID", "agent_id", reflect.TypeFor[string]()},
		{"ClusterID", "cluster_id", reflect.TypeFor[string]()},
		{"ClusterName", "cluster_name", reflect.TypeFor[string]()},
		{"Platform", "platform", reflect.TypeFor[string]()},
		{"Region", "region", reflect.TypeFor[string]()},
		{"Status", "status", reflect.TypeFor[string]()},
		{"SessionCount", "session_count", reflect.TypeFor[int]()},
		{"Capacity", "capacity", reflect.TypeFor[map[string]interface{}]()},
		{"IsConnected", "is_connected", reflect.TypeFor[bool]()},
	}
	kind := reflect.TypeFor[services.AgentInfo]()
	if kind.NumField() != len(want) {
		t.Errorf("AgentInfo has %d fields, not %d", kind.NumField(), len(want))
	}
	for i, field := range want {
		got := kind.Field(i)
		if got.Name != field.name || got.Tag.Get("json") != field.tag || got.Type != field.kind {
			t.Errorf("field %d is %s %s %q, want %s %s %q", i, got.Name, got.Type, got.Tag.Get("json"), field.name, field.kind, field.tag)
		}
	}
}

func TestContractSelectionCriteria(t *testing.T) {
	_ = services.SelectionCriteria{ClusterID: "c", Region: "r", Platform: "p", PreferLowLoad: true, RequireConnected: true}
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		d := newDocumented(t, database)
		// "Select agent with lowest load", "only 'online'", "by WebSocket connection",
		// "cluster, region, platform".
		for _, agent := range []models.Agent{
			{ID: "busy", Region: "us-east-1", ClusterID: "one", Platform: "kubernetes"},
			{ID: "idle", Region: "us-east-1", ClusterID: "two", Platform: "docker"},
			{ID: "draining", Region: "us-east-1", ClusterID: "two", Platform: "docker"},
			{ID: "away", Region: "us-east-1", ClusterID: "two", Platform: "docker"},
		} {
			d.register(agent)
		}
		d.connect("busy")
		d.connect("idle")
		drained := d.negotiate("draining")
		drained.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentDraining})
		d.await("the draining is written", func() bool {
			agent, err := database.Agent(t.Context(), "draining")
			return err == nil && agent.Status == models.AgentDraining
		})
		if _, _, err := d.sessions.Launch(t.Context(), services.LaunchRequest{Template: "desk", ClusterID: "one", Owner: d.owner}); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			criteria *services.SelectionCriteria
			want     string
		}{
			"nil":                             {nil, "idle"},
			"zero":                            {&services.SelectionCriteria{}, "idle"},
			"the document's":                  {&services.SelectionCriteria{Region: "us-east-1", PreferLowLoad: true, RequireConnected: true}, "idle"},
			"false is the default too":        {&services.SelectionCriteria{PreferLowLoad: false, RequireConnected: false}, "idle"},
			"cluster":                         {&services.SelectionCriteria{ClusterID: "one"}, "busy"},
			"platform":                        {&services.SelectionCriteria{Platform: "kubernetes"}, "busy"},
			"no such region":                  {&services.SelectionCriteria{Region: "eu-west-1"}, ""},
			"no such platform":                {&services.SelectionCriteria{Platform: "process"}, ""},
			"connection is needed by default": {&services.SelectionCriteria{ClusterID: "three"}, ""},
		} {
			for range 5 {
				agent, err := d.selector.SelectAgent(t.Context(), c.criteria)
				if c.want == "" {
					if models.CodeOf(err) != models.CodeNoSuitableAgent || agent != nil {
						t.Errorf("%s: %+v, %v", name, agent, err)
					}
					continue
				}
				if err != nil || agent.AgentID != c.want {
					t.Errorf("%s: %+v, %v; want %s", name, agent, err, c.want)
				}
			}
		}
		info, err := d.selector.GetAgentInfo(t.Context(), "busy")
		if err != nil || info.SessionCount != 1 || !info.IsConnected || info.Status != "online" || info.Platform != "kubernetes" {
			t.Errorf("GetAgentInfo gives %+v, %v", info, err)
		}
	})
}

func TestContractSelectorIsSafeForConcurrentUse(t *testing.T) {
	d := newDocumented(t, dbtest.SQLite(t, db.Options{}))
	d.register(models.Agent{ID: "a"})
	d.connect("a")
	criteria := &services.SelectionCriteria{}
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			if _, err := d.selector.SelectAgent(t.Context(), criteria); err != nil {
				t.Error(err)
			}
			if _, err := d.selector.GetAgentInfo(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if !reflect.DeepEqual(criteria, &services.SelectionCriteria{}) {
		t.Errorf("the caller's criteria became %+v", criteria)
	}
}

func TestContractQueue(t *testing.T) {
	d := newDocumented(t, dbtest.SQLite(t, db.Options{}))
	if got := d.dispatcher.GetQueueCapacity(); got != 1000 {
		t.Errorf("the capacity is %d, not 1000", got)
	}
	// "should already be created in the database": here in one transaction.
	fill, err := d.database.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1001 {
		if _, err := fill.ExecContext(t.Context(), `INSERT INTO agent_commands (command_id, agent_id, action, status, created_at)
			VALUES ($1, 'k8s-prod-us-east-1', 'start_session', 'pending', '2026-01-01T00:00:00.000000Z')`, fmt.Sprint("cmd-", n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := fill.Commit(); err != nil {
		t.Fatal(err)
	}
	for n := range 1000 {
		if got := d.dispatcher.GetQueueLength(); got != n {
			t.Fatalf("%d commands are in the queue, not %d", got, n)
		}
		if err := d.dispatcher.DispatchCommand(documentedCommand(n)); err != nil {
			t.Fatal(err)
		}
	}
	// "Returns an error if the queue is full."
	mustCode(t, d.dispatcher.DispatchCommand(documentedCommand(1000)), models.CodeQueueFull)
	// "retrieves all pending commands": more of them than there is room for is
	// no error.
	if err := d.dispatcher.DispatchPendingCommands(); err != nil {
		t.Error(err)
	}
	if got := d.dispatcher.GetQueueLength(); got != 1000 {
		t.Errorf("%d commands are in the queue", got)
	}
}

func TestContractDispatchPendingCommandsQueuesEach(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		d := newDocumented(t, database)
		for n := range 7 { // of one session or of none, each is a command
			if err := d.database.CreateCommand(t.Context(), documentedCommand(n), d.clock.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.dispatcher.DispatchPendingCommands(); err != nil {
			t.Fatal(err)
		}
		if got := d.dispatcher.GetQueueLength(); got != 7 {
			t.Errorf("%d commands are in the queue, not 7", got)
		}
	})
}

func TestContractCommandLifecycle(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		d := newDocumented(t, database)
		d.register(models.Agent{ID: "k8s-prod-us-east-1", Platform: "kubernetes"})
		agent := d.connect("k8s-prod-us-east-1")
		started := make(chan struct{})
		go func() { d.dispatcher.Start(); close(started) }()

		for n, end := range []string{"completed", "failed"} {
			command := documentedCommand(n)
			if err := d.database.CreateCommand(t.Context(), command, d.clock.Now()); err != nil {
				t.Fatal(err)
			}
			if row := d.row(command.CommandID); row.Status != "pending" {
				t.Fatalf("created as %s", row.Status)
			}
			if err := d.dispatcher.DispatchCommand(command); err != nil {
				t.Fatal(err)
			}
			got := agent.command()
			if got.CommandID != command.CommandID || got.Action != command.Action || !reflect.DeepEqual(got.Payload, command.Payload) {
				t.Fatalf("the agent got %+v", got)
			}
			if row := d.awaitCommand(command.CommandID, "sent"); row.SentAt == nil {
				t.Error("sent without sent_at")
			}
			agent.send(wire.TypeAck, wire.Ack{CommandID: command.CommandID})
			d.awaitCommand(command.CommandID, "ack")
			if end == "completed" {
				agent.send(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
			} else {
				agent.send(wire.TypeFailed, wire.Failed{CommandID: command.CommandID, Error: "no"})
			}
			d.awaitCommand(command.CommandID, end)
		}
		select {
		case <-started:
			t.Fatal("Start returned before Stop")
		default:
		}
		d.dispatcher.Stop()
		<-started
	})
}

func TestContractWorkers(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*services.CommandDispatcher)
		late func(*services.CommandDispatcher)
		want int
	}{
		{name: "10 by default", want: 10},
		{name: "as many as set", set: func(d *services.CommandDispatcher) { d.SetWorkers(3) }, want: 3},
		{name: "20 as in the document", set: func(d *services.CommandDispatcher) { d.SetWorkers(20) }, want: 20},
		{name: "at least one", set: func(d *services.CommandDispatcher) { d.SetWorkers(0) }, want: 1},
		{name: "not after Start", late: func(d *services.CommandDispatcher) { d.SetWorkers(25) }, want: 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDocumented(t, dbtest.SQLite(t, db.Options{}))
			d.register(models.Agent{ID: "a"})
			agent := d.connect("a")
			if c.set != nil {
				c.set(d.dispatcher)
			}
			var running sync.WaitGroup
			running.Go(d.dispatcher.Start)
			defer running.Wait()
			defer d.dispatcher.Stop()
			const count = 25
			for n := range count {
				command := d.pending(fmt.Sprint("c", n), "a", fmt.Sprint("s", n))
				if err := d.dispatcher.DispatchCommand(&command); err != nil {
					t.Fatal(err)
				}
			}
			agent.commands(count)
			if c.late != nil {
				c.late(d.dispatcher)
			}
			stacks := make([]byte, 4<<20)
			d.await(fmt.Sprint(c.want, " workers are at work"), func() bool {
				return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("services.(*CommandDispatcher).work(")) == c.want
			})
		})
	}
}

func TestContractStop(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("stop", func(t *testing.T) {
		d := newDocumented(t, dbtest.SQLite(t, db.Options{}))
		for name, service := range map[string]interface {
			Start()
			Stop()
		}{"dispatcher": d.dispatcher, "reconciler": d.reconciler} {
			returned := make(chan struct{})
			go func() { service.Start(); close(returned) }()
			service.Stop()
			service.Stop()
			select {
			case <-returned:
			case <-time.After(patience):
				t.Fatalf("the %s's Start did not return after Stop", name)
			}
		}
		// Stop before Start: then Start has nothing to block for.
		early := newDocumented(t, dbtest.SQLite(t, db.Options{}))
		early.dispatcher.Stop()
		early.dispatcher.Start()
		early.reconciler.Stop()
		early.reconciler.Start()
		mustCode(t, early.dispatcher.DispatchCommand(documentedCommand(1)), models.CodeStopped)
		mustCode(t, early.dispatcher.DispatchPendingCommands(), models.CodeStopped)
	})
}

func TestContractGetStats(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		d := newDocumented(t, database)
		keys := []string{"stuck_hibernating", "stuck_pending", "stuck_terminating", "stuck_waking"}
		check := func(want map[string]int) {
			t.Helper()
			stats, err := d.reconciler.GetStats()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for key, count := range stats {
				got = append(got, key)
				if count != want[key] {
					t.Errorf("%s is %d, not %d", key, count, want[key])
				}
			}
			if slices.Sort(got); !slices.Equal(got, keys) {
				t.Errorf("the keys are %v", got)
			}
		}
		check(nil)
		d.register(models.Agent{ID: "a"})
		d.connect("a")
		for i, state := range []models.SessionState{"pending", "pending", "terminating", "hibernating", "waking", "running", "hibernated", "failed"} {
			id := fmt.Sprint("s", i)
			d.launch(id)
			d.exec(fmt.Sprintf(`UPDATE sessions SET state = '%s' WHERE id = '%s'`, state, id))
		}
		check(nil) // "for >5 minutes"
		d.exec(`UPDATE sessions SET state_since = '` + time.Now().UTC().Add(-5*time.Minute-time.Second).Format("2006-01-02T15:04:05.000000Z") + `'`)
		check(map[string]int{"stuck_pending": 2, "stuck_terminating": 1, "stuck_hibernating": 1, "stuck_waking": 1})
	})
}

func TestContractReconcilerRetriesIfTheAgentIsAvailable(t *testing.T) {
	d := newDocumented(t, dbtest.SQLite(t, db.Options{}))
	d.register(models.Agent{ID: "a"})
	agent := d.connect("a")
	var running sync.WaitGroup
	running.Go(d.dispatcher.Start)
	defer running.Wait()
	defer d.dispatcher.Stop()
	d.launch("one")
	start := agent.command()
	d.awaitCommand(start.CommandID, models.CommandSent)
	d.exec(`UPDATE sessions SET state_since = '` + time.Now().UTC().Add(-6*time.Minute).Format("2006-01-02T15:04:05.000000Z") + `'`)
	running.Go(d.reconciler.Start) // its first pass comes at once
	defer d.reconciler.Stop()
	if again := agent.command(); again.CommandID != start.CommandID {
		t.Errorf("%s was sent again as %s", start.CommandID, again.CommandID)
	}
}
