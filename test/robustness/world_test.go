package robustness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

const (
	sqlite     = "SQLite"
	postgresql = "PostgreSQL"

	agentName = "local" // as that of up
	// recoverWithin bounds a recovery. The agent looks for its control plane
	// every 30 s at the latest, and for a lost connection after 12 s.
	recoverWithin = 90 * time.Second
)

// world is a control plane and an agent, together or apart, and what they have
// been asked for.
type world struct {
	t      *testing.T
	binary string
	dir    string
	// dataDir is the control plane's.
	dataDir string
	// listen is where the control plane serves, at every start, and address the
	// same as a URL.
	listen, address string
	// database is PostgreSQL's URL; empty is SQLite in the data directory.
	database string
	// serverFlags are more flags of the control plane.
	serverFlags []string
	// agentServer is the URL that the agent connects to.
	agentServer string
	// agentPrefix comes before the agent's command, to run it elsewhere.
	agentPrefix []string
	faults      failpoints

	server, agent *program.Program
	// pids are the supervisors of the sessions that are known to run.
	pids map[string]int
	made int
	// failures are sessions that were made to fail.
	failures []string
}

// newWorld makes a world in which nothing runs yet.
func newWorld(t *testing.T, binary, database string) *world {
	t.Helper()
	dir := t.TempDir()
	program.Reap(t, dir)
	listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(t)))
	w := &world{t: t, binary: binary, dir: dir, dataDir: filepath.Join(dir, "data"), listen: listen, address: "http://" + listen, agentServer: "http://" + listen,
		database: database, pids: map[string]int{}}
	w.faults = newFailpoints(t, filepath.Join(w.agentDir(), "failpoints")) // beside the sessions
	w.saveTemplates()
	return w
}

// freePort gives a port to listen on again and again: it is below those that
// the system gives to others (ip(7), ip_local_port_range, from 32768 on).
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(12000)
		listener, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func (w *world) engine() string {
	if w.database == "" {
		return sqlite
	}
	return postgresql
}

// agentDir is where up has its agent's directory, for agents apart too.
func (w *world) agentDir() string { return filepath.Join(w.dir, "data", "agent") }

// startServer starts the control plane and waits until it serves.
func (w *world) startServer() {
	w.t.Helper()
	w.runServer()
	w.server.Line("StreamSpace serves on")
}

// runServer starts the control plane.
func (w *world) runServer() {
	w.t.Helper()
	args := []string{"server", "--data-dir", w.dataDir, "--listen", w.listen, "--templates", w.templates()}
	if w.database != "" {
		args = append(args, "--database", w.database)
	}
	args = append(args, w.serverFlags...)
	w.server = program.StartBinary(w.t, w.binary, w.faults.env(), args...)
}

// startAgent starts an agent that runs apart, and waits until it is connected.
func (w *world) startAgent() {
	w.t.Helper()
	keyFile := filepath.Join(w.dir, "agent.key")
	if _, err := os.Stat(keyFile); errors.Is(err, os.ErrNotExist) {
		key, err := w.api().CreateAgentKey(program.Limit(w.t), agentName)
		if err == nil {
			err = os.WriteFile(keyFile, []byte(key.Key+"\n"), 0o600)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	command := append(slices.Clone(w.agentPrefix), w.binary, "agent", "--server", w.agentServer, "--id", agentName,
		"--key-file", keyFile, "--data-dir", w.agentDir())
	before, err := w.api().Agent(program.Limit(w.t), agentName)
	if err != nil && !strings.Contains(err.Error(), "there is no agent") {
		w.t.Fatal(err)
	}
	w.agent = program.StartBinary(w.t, command[0], w.faults.env(), command[1:]...)
	w.agent.Line("runs sessions on this machine")
	w.onlineAfter(before.Epoch)
}

// online waits until the agent is connected and has told all of itself.
func (w *world) online() {
	w.t.Helper()
	w.onlineAfter(0)
}

// onlineAfter is online for a later connection than one: the end of that may not
// be known yet.
func (w *world) onlineAfter(epoch int64) {
	w.t.Helper()
	program.Eventually(w.t, "the agent is online", recoverWithin, func() error {
		agent, err := w.api().Agent(program.Limit(w.t), agentName)
		if err == nil && (agent.Status != models.AgentOnline || agent.Facilities == nil || agent.Epoch <= epoch) {
			err = fmt.Errorf("it is %s with connection %d", agent.Status, agent.Epoch)
		}
		return err
	})
}

// startUp starts control plane and agent in one process.
func (w *world) startUp() {
	w.t.Helper()
	args := []string{"up", "--data-dir", w.dataDir, "--listen", w.listen, "--templates", w.templates(), "--log-level", "info", "--docker", "off"}
	w.server = program.StartBinary(w.t, w.binary, w.faults.env(), args...)
	w.server.Line("/login?token=")
}

func (w *world) api() *client.Client { return program.Admin(w.t, w.address, w.dataDir) }

// ids makes the names of new sessions.
func (w *world) ids(count int) []string {
	var ids []string
	for range count {
		w.made++
		_, port, _ := net.SplitHostPort(w.listen) // unlike that of any other world
		ids = append(ids, fmt.Sprintf("world%s-%04d", port, w.made))
	}
	return ids
}

// asked is something that is being asked for again and again, as clients do,
// until it has been accepted.
type asked struct {
	w       *world
	pending sync.WaitGroup
	mu      sync.Mutex
	done    int
	failed  error
}

// launching asks for sessions, all at once.
func (w *world) launching(ids []string) *asked {
	api := w.api()
	return w.ask(ids, func(ctx context.Context, id string) error {
		_, err := api.Launch(ctx, client.LaunchRequest{ID: id, Template: "terminal"})
		return err
	})
}

// stopping asks for the ends of sessions, all at once.
func (w *world) stopping(ids []string) *asked {
	for _, id := range ids {
		delete(w.pids, id)
	}
	api := w.api()
	return w.ask(ids, func(ctx context.Context, id string) error {
		_, err := api.Stop(ctx, id)
		return err
	})
}

func (w *world) ask(ids []string, request func(context.Context, string) error) *asked {
	a := &asked{w: w}
	for _, id := range ids {
		a.pending.Go(func() {
			err := insist(id, request)
			a.mu.Lock()
			defer a.mu.Unlock()
			if err == nil {
				a.done++
			}
			a.failed = errors.Join(a.failed, err)
		})
	}
	return a
}

// insist repeats a request until it is accepted.
func insist(id string, request func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), recoverWithin)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	var refused error
	for {
		err := request(ctx, id)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			refused = err // rather than that the time is over
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("session %s: nothing was accepted: %w", id, refused)
		}
	}
}

// accepted waits until all of it is.
func (a *asked) accepted() {
	a.w.t.Helper()
	a.pending.Wait()
	if a.failed != nil {
		a.w.t.Fatal(a.failed)
	}
}

// count tells how many are so far.
func (a *asked) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.done
}

// launch launches sessions where nothing is disturbed.
func (w *world) launch(count int) []string {
	w.t.Helper()
	ids := w.ids(count)
	w.launching(ids).accepted()
	w.running(ids)
	w.once(ids)
	return ids
}

// stop stops sessions where nothing is disturbed.
func (w *world) stop(ids []string) {
	w.t.Helper()
	w.stopping(ids).accepted()
	w.ended(ids)
	w.gone(ids)
}

// running waits until sessions run. One that has failed never will.
func (w *world) running(ids []string) {
	w.t.Helper()
	w.reach(ids, models.SessionRunning)
}

// ended waits until sessions have been stopped.
func (w *world) ended(ids []string) {
	w.t.Helper()
	w.reach(ids, models.SessionTerminated)
}

func (w *world) reach(ids []string, state models.SessionState) {
	w.t.Helper()
	api := w.api()
	for _, id := range ids {
		program.Eventually(w.t, fmt.Sprintf("session %s is %s", id, state), recoverWithin, func() error {
			session, err := api.Session(program.Limit(w.t), id)
			switch {
			case err != nil:
				return err
			case session.State != state && session.State.Terminal():
				w.t.Fatalf("session %s was accepted and is %s: %s", id, session.State, session.Reason)
			case session.State != state:
				return fmt.Errorf("it is %s: %s", session.State, session.Reason)
			}
			return nil
		})
	}
}

// once checks that each of the sessions, and each that ran before, runs exactly
// once, and that those that ran before are the same processes as then.
func (w *world) once(ids []string) {
	w.t.Helper()
	want := append(slices.Collect(maps.Keys(w.pids)), ids...)
	slices.Sort(want)
	want = slices.Compact(want)
	var found map[string][]int
	program.Eventually(w.t, "each session runs once", 30*time.Second, func() error {
		found = w.supervisors()
		for _, id := range want {
			if len(found[id]) != 1 {
				return fmt.Errorf("session %s has %d supervisors", id, len(found[id]))
			}
		}
		if len(found) != len(want) {
			return fmt.Errorf("%d sessions run, not %d: %v", len(found), len(want), found)
		}
		return nil
	})
	for _, id := range want {
		if before, known := w.pids[id]; known && before != found[id][0] {
			w.t.Errorf("session %s was started again: its supervisor was process %d and is %d", id, before, found[id][0])
		}
		w.pids[id] = found[id][0]
	}
}

// supervisors lists the supervisors of this world's agent by the session that
// they run, whose directory is where they work.
func (w *world) supervisors() map[string][]int {
	w.t.Helper()
	found := map[string][]int{}
	for _, pid := range program.ProcessesOf(w.t, filepath.Join(w.agentDir(), "sessions")) {
		if !strings.Contains(program.Describe([]int{pid}), " supervise ") {
			continue
		}
		cwd, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd"))
		name, own := strings.CutPrefix(cwd, filepath.Join(w.agentDir(), "sessions")+"/")
		id, generation, named := cutLast(name, ".")
		if err != nil || !own || !named || generation == "0" {
			continue // it has ended, or has no session yet
		}
		found[id] = append(found[id], pid)
	}
	return found
}

func cutLast(text, separator string) (before, after string, found bool) {
	at := strings.LastIndex(text, separator)
	if at < 0 {
		return text, "", false
	}
	return text[:at], text[at+len(separator):], true
}

// noteReady notes which of the sessions are up just now, whoever knows of it.
// From then on they must be the same processes: being started a second time is
// a second effect, also when the first one was ended before.
func (w *world) noteReady(ids []string) {
	w.t.Helper()
	for id, pids := range w.supervisors() {
		states, err := filepath.Glob(filepath.Join(w.agentDir(), "sessions", id+".*", "state.json"))
		if err != nil || len(states) != 1 || len(pids) != 1 || !slices.Contains(ids, id) {
			continue
		}
		var state struct{ Ready bool }
		if content, err := os.ReadFile(states[0]); err == nil && json.Unmarshal(content, &state) == nil && state.Ready {
			w.pids[id] = pids[0]
		}
	}
}

// gone waits until nothing is left of sessions that were stopped or failed.
func (w *world) gone(ids []string) {
	w.t.Helper()
	for _, id := range ids {
		delete(w.pids, id)
		program.Eventually(w.t, "nothing is left of session "+id, 30*time.Second, func() error {
			if left := program.ProcessesOf(w.t, id); len(left) > 0 {
				return fmt.Errorf("processes are left:\n%s", program.Describe(left))
			}
			if left := program.Paths(w.t, filepath.Join(w.agentDir(), "sessions"), id); len(left) > 0 {
				return fmt.Errorf("files are left: %s", strings.Join(left, ", "))
			}
			return nil
		})
	}
}

// settled waits until no command is unfinished. Those of sessions that were not
// made to fail have succeeded.
func (w *world) settled() {
	w.t.Helper()
	api := w.api()
	program.Eventually(w.t, "every command has ended", recoverWithin, func() error {
		commands, err := client.All(program.Limit(w.t), func(ctx context.Context, page client.Page) (client.List[client.Command], error) {
			return api.Commands(ctx, client.CommandFilter{Page: page})
		})
		if err != nil {
			return err
		}
		for _, command := range commands {
			switch {
			case command.CompletedAt != nil && command.CompletedAt.After(command.DeadlineAt) && !slices.Contains(w.failures, command.SessionID):
				w.t.Fatalf("%s of %s ended at %v, past its deadline", command.Action, command.SessionID, command.CompletedAt)
			case command.Status == models.CommandCompleted:
			case command.Status == models.CommandFailed && slices.Contains(w.failures, command.SessionID):
			case command.Status == models.CommandFailed:
				w.t.Fatalf("%s of %s failed: %s", command.Action, command.SessionID, command.ErrorMessage)
			default:
				return fmt.Errorf("%s of %s is %s", command.Action, command.SessionID, command.Status)
			}
		}
		return nil
	})
}

// finish checks that the world works, stops what runs in it, and checks that
// nothing is left.
func (w *world) finish() {
	w.t.Helper()
	w.online()
	w.launch(1)
	w.stop(slices.Collect(maps.Keys(w.pids)))
	w.settled()
	agent := w.agent
	if agent == nil {
		agent = w.server // up
	}
	agent.Stop()
	program.Eventually(w.t, "nothing is left of any session", 30*time.Second, func() error {
		if left := program.ProcessesOf(w.t, filepath.Join(w.agentDir(), "sessions")); len(left) > 0 {
			return fmt.Errorf("there are:\n%s", program.Describe(left))
		}
		return nil
	})
}
