package services_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/websocket"
)

const (
	racingReplicas = 2
	racingPlacers  = 16 // in each replica
	racingLaunches = 28 // by each placer
	// racingHeld is how many sessions a placer keeps at once.
	racingHeld = 2
	// What a process of the test is: the database's URL, and its number.
	racingURL, racingNumber = "STREAMSPACE_TEST_RACING_URL", "STREAMSPACE_TEST_RACING_REPLICA"
	// Before the last line of a replica, which is what it has done.
	racingReady, racingDone = "racing: ready", "racing: done "
)

// raced is what a replica has done.
type raced struct {
	services.SessionsStats
	// Launched, Waited and Refused count launches by what became of them at
	// first; Launched also has those that found their session there already.
	Launched, Waited, Refused int
}

// racer is one replica: Sessions over a database that it shares with others.
// The agents are connected to none of them.
type racer struct {
	database *db.Database
	sessions *services.Sessions
	owner    models.User
	number   int

	mu    sync.Mutex
	raced raced
}

// TestRacingReplica is no test of its own: it is what the other processes of
// TestReplicasNeverOverbook do.
func TestRacingReplica(t *testing.T) {
	url := os.Getenv(racingURL)
	if url == "" {
		t.Skip("only for TestReplicasNeverOverbook")
	}
	number, err := strconv.Atoi(os.Getenv(racingNumber))
	if err != nil {
		t.Fatal(err)
	}
	database, err := db.Open(t.Context(), url, db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = database.Close() }()
	hub := websocket.NewAgentHub(database)
	r := &racer{database: database, number: number, sessions: services.NewSessions(database,
		services.NewAgentSelector(database.DB(), hub), services.NewCommandDispatcher(database, hub), services.SessionsOptions{})}
	if r.owner, err = database.EnsureUser(t.Context(), "ann", models.RoleUser, time.Now()); err != nil {
		t.Fatal(err)
	}
	fmt.Println(racingReady)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // until all replicas are ready
		t.Fatal(err)
	}
	var placers sync.WaitGroup
	for placer := range racingPlacers {
		placers.Go(func() {
			if err := r.place(t.Context(), placer); err != nil {
				t.Errorf("placer %d: %v", placer, err)
			}
		})
	}
	placers.Wait()
	r.raced.SessionsStats = r.sessions.Stats()
	body, err := json.Marshal(r.raced)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s%s\n", racingDone, body)
}

// place launches sessions of several sizes and ends them again, keeping few. Of
// every four launches one may wait, and one is of a session that a placer of
// each replica launches.
func (r *racer) place(ctx context.Context, placer int) error {
	var held []string
	now := time.Duration(0)
	for i := range racingLaunches {
		request := services.LaunchRequest{ID: fmt.Sprintf("r%d-%d-%d", r.number, placer, i), Template: "desk", Owner: r.owner, Wait: &now,
			Resources: []models.Resources{{}, {CPU: "500m", Memory: "256Mi"}, {CPU: "2", Memory: "1Gi"}, {CPU: "250m", Memory: "128Mi", GPUs: 1}}[(i+placer)%4]}
		switch i % 4 {
		case 1:
			request.Wait = nil
		case 3:
			request.ID = fmt.Sprintf("all-%d-%d", placer, i)
		}
		session, _, err := r.sessions.Launch(ctx, request)
		r.count(session, err)
		switch {
		case err == nil:
			held = append(held, session.ID)
		case models.CodeOf(err) != models.CodeNoSuitableAgent:
			return fmt.Errorf("launch %s: %w", request.ID, err)
		}
		for len(held) > racingHeld || len(held) > 0 && i == racingLaunches-1 {
			if err := r.end(ctx, held[0]); err != nil {
				return fmt.Errorf("end %s: %w", held[0], err)
			}
			held = held[1:]
		}
	}
	return nil
}

func (r *racer) count(session models.Session, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		r.raced.Refused++
	case session.Waiting():
		r.raced.Waited++
	default:
		r.raced.Launched++
	}
}

// end ends a session as its owner and its agent would, and has the room given to
// those who wait.
func (r *racer) end(ctx context.Context, id string) error {
	if _, err := r.sessions.Stop(ctx, id, "user:ann"); err != nil {
		return err
	}
	_, err := r.database.ForceEnd(ctx, db.ForcedEnd{SessionID: id, From: models.SessionTerminating, To: models.SessionTerminated, Actor: "system"}, time.Now())
	if err != nil {
		return err
	}
	_, err = r.sessions.PlaceWaiting(ctx)
	return err
}

// books are what a database itself knows of its agents' room: each change of a
// session is entered in the transaction that makes it, under a lock, so that
// not even an overbooking of a moment is missed. The sums are made of single
// changes, and not as the product makes them; NULL is no limit.
const books = `
	CREATE TABLE books (agent_id text PRIMARY KEY, sessions bigint, cpu bigint, memory bigint, gpus bigint);
	CREATE TABLE limits (agent_id text PRIMARY KEY, sessions bigint, cpu bigint, memory bigint, gpus bigint);
	CREATE TABLE overbooked (agent_id text, session_id text, sessions bigint, cpu bigint, memory bigint, gpus bigint);
	CREATE FUNCTION enter(s sessions, sign bigint) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF s.agent_id IS NULL OR s.state IN ('terminated', 'failed', 'hibernated') THEN RETURN; END IF;
		UPDATE books SET sessions = sessions + sign, cpu = cpu + sign * s.reserved_cpu, memory = memory + sign * s.reserved_memory,
			gpus = gpus + sign * s.gpus WHERE agent_id = s.agent_id;
		INSERT INTO overbooked SELECT s.agent_id, s.id, b.sessions, b.cpu, b.memory, b.gpus FROM books b JOIN limits l USING (agent_id)
			WHERE b.agent_id = s.agent_id AND sign > 0
				AND (b.sessions > l.sessions OR b.cpu > l.cpu OR b.memory > l.memory OR b.gpus > l.gpus);
	END $$;
	CREATE FUNCTION entered() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_OP = 'UPDATE' AND NEW.agent_id IS NOT DISTINCT FROM OLD.agent_id AND
			(NEW.state IN ('terminated', 'failed', 'hibernated')) = (OLD.state IN ('terminated', 'failed', 'hibernated')) THEN RETURN NULL; END IF;
		IF TG_OP = 'UPDATE' THEN PERFORM enter(OLD, -1); END IF;
		PERFORM enter(NEW, 1);
		RETURN NULL;
	END $$;
	CREATE TRIGGER entered AFTER INSERT OR UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION entered();`

// racingAgents are agents with limits by sessions, by what sessions take, and by
// both; together they have too little room for all placers.
func racingAgents() map[string]models.Agent {
	agents := map[string]models.Agent{}
	for i := range 3 {
		agents[fmt.Sprint("few-", i)] = models.Agent{Capacity: map[string]any{"maxSessions": 4}}
		agents[fmt.Sprint("small-", i)] = models.Agent{Capacity: map[string]any{"cpu": "3", "memory": "2Gi", "gpus": 1}}
		agents[fmt.Sprint("both-", i)] = models.Agent{Capacity: map[string]any{"maxSessions": 5, "cpu": "3500m", "memory": "1536Mi", "gpus": 2}}
	}
	return agents
}

// replica is a process of the test.
type replica struct {
	t       *testing.T
	command *exec.Cmd
	begin   io.Closer
	output  *bufio.Scanner
	// said is what it has written so far, for when it fails.
	said []string
}

func startReplica(ctx context.Context, t *testing.T, url string, number int) *replica {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(ctx, program, "-test.run=^TestRacingReplica$")
	command.Env = append(os.Environ(), racingURL+"="+url, fmt.Sprintf("%s=%d", racingNumber, number))
	command.Stderr = t.Output()
	begin, beginErr := command.StdinPipe()
	output, outputErr := command.StdoutPipe()
	if err := errors.Join(beginErr, outputErr, command.Start()); err != nil {
		t.Fatal(err)
	}
	return &replica{t: t, command: command, begin: begin, output: bufio.NewScanner(output)}
}

// line waits for a line that begins with prefix, and gives the rest of it.
func (r *replica) line(prefix string) string {
	r.t.Helper()
	for r.output.Scan() {
		if rest, found := strings.CutPrefix(r.output.Text(), prefix); found {
			return rest
		}
		r.said = append(r.said, r.output.Text())
	}
	r.t.Fatalf("a replica ended (%v) before it said %q:\n%s", r.command.Wait(), prefix, strings.Join(r.said, "\n"))
	return ""
}

// done waits for the replica's end and gives what it has done.
func (r *replica) done() (done raced) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.line(racingDone)), &done); err != nil {
		r.t.Fatal(err)
	}
	for r.output.Scan() {
		r.said = append(r.said, r.output.Text())
	}
	if err := r.command.Wait(); err != nil {
		r.t.Errorf("a replica failed (%v):\n%s", err, strings.Join(r.said, "\n"))
	}
	return done
}

// race starts the replicas, lets them begin at once, and gives what they have
// done together.
func race(t *testing.T, url string) (all raced) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel() // which kills what runs still
	var replicas []*replica
	for number := range racingReplicas {
		replicas = append(replicas, startReplica(ctx, t, url, number))
	}
	for _, one := range replicas {
		one.line(racingReady)
	}
	for _, one := range replicas {
		if err := one.begin.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, one := range replicas {
		done := one.done()
		all.Placed, all.Conflicts = all.Placed+done.Placed, all.Conflicts+done.Conflicts
		all.Launched, all.Waited, all.Refused = all.Launched+done.Launched, all.Waited+done.Waited, all.Refused+done.Refused
	}
	return all
}

// watch looks at all agents again and again until stop, or the test's end. stop
// gives how often it did, and may be called again.
func watch(t *testing.T, database *db.Database) (stop func() int) {
	stopping, looked := make(chan struct{}), make(chan int, 1)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		told := map[string]bool{}
		for looks := 0; ; looks++ {
			agents, err := database.Candidates(context.WithoutCancel(t.Context()), db.AgentFilter{})
			if err != nil {
				t.Error(err)
			}
			for _, agent := range agents {
				if limit := agent.Limit(); !agent.Reserved.Within(limit) && !told[agent.ID] {
					told[agent.ID] = true
					t.Errorf("agent %s has %+v reserved, of %+v", agent.ID, agent.Reserved, limit)
				}
			}
			select {
			case <-tick.C:
			case <-stopping:
				looked <- looks
				return
			}
		}
	}()
	stop = sync.OnceValue(func() int { close(stopping); return <-looked })
	t.Cleanup(func() { stop() })
	return stop
}

// Many placers in several processes never overbook an agent, not for a moment;
// they place each session at most once, and leave nothing reserved.
func TestReplicasNeverOverbook(t *testing.T) {
	url := dbtest.PostgresURL(t)
	database, err := db.Open(t.Context(), url, db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Close() })
	if err := database.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, database, services.DispatcherOptions{})
	w.exec(books)
	for id, agent := range racingAgents() {
		agent.ID = id
		w.register(agent)
		if _, err := database.ConnectAgent(t.Context(), id, time.Now()); err != nil {
			t.Fatal(err)
		}
		limit := agent.Limit()
		w.exec(fmt.Sprintf("INSERT INTO books VALUES ('%s', 0, 0, 0, 0)", id))
		w.exec(fmt.Sprintf("INSERT INTO limits VALUES ('%s', nullif(%d, -1), nullif(%d, -1), nullif(%d, -1), nullif(%d, -1))",
			id, limit.Sessions, limit.CPU, limit.Memory, limit.GPUs))
	}
	begun := time.Now()
	stop := watch(t, database)
	all := race(t, url)
	looks := stop()
	t.Logf("%d placers in %d processes, %v: %d launches were placed, %d waited, %d were refused; %d placements, %d lost a race (%.1f%% of %d); %d looks",
		racingReplicas*racingPlacers, racingReplicas, time.Since(begun).Round(time.Millisecond), all.Launched, all.Waited, all.Refused,
		all.Placed, all.Conflicts, 100*float64(all.Conflicts)/float64(all.Placed+all.Conflicts), all.Placed+all.Conflicts, looks)
	if all.Placed == 0 || all.Refused+all.Waited == 0 {
		t.Error("the agents never were full; nothing was tried")
	}
	for what, query := range map[string]string{
		"overbookings":                       "SELECT count(*) FROM overbooked",
		"agents with something reserved":     "SELECT count(*) FROM books WHERE sessions <> 0 OR cpu <> 0 OR memory <> 0 OR gpus <> 0",
		"sessions that have not ended":       "SELECT count(*) FROM sessions WHERE state NOT IN ('terminated', 'failed')",
		"commands that have not ended":       "SELECT count(*) FROM agent_commands WHERE status NOT IN ('completed', 'failed')",
		"sessions that were placed again":    "SELECT count(*) FROM sessions WHERE attempts > 1",
		"generations that are started again": "SELECT count(*) FROM (SELECT 1 FROM agent_commands WHERE action = 'start_session' GROUP BY session_id, generation HAVING count(*) > 1) AS again",
		"sessions started where they are not": `SELECT count(*) FROM agent_commands c JOIN sessions s ON s.id = c.session_id
			WHERE c.agent_id IS DISTINCT FROM s.agent_id`,
	} {
		var count int
		if err := database.DB().QueryRowContext(t.Context(), query).Scan(&count); err != nil || count != 0 {
			t.Errorf("there are %d %s, %v", count, what, err)
		}
	}
	var entries int
	err = database.DB().QueryRowContext(t.Context(), "SELECT count(*) FROM agent_commands WHERE action = 'start_session'").Scan(&entries)
	if err != nil || uint64(entries) != all.Placed {
		t.Errorf("%d sessions were placed and %d are to be started, %v", all.Placed, entries, err)
	}
}
