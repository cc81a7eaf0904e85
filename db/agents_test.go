package db_test

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

func TestRegisterKeepsEpochAndStatus(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		agent := models.Agent{ID: "a", Platform: "docker", Region: "eu", ClusterID: "c", ClusterName: "C", HomeStore: "cellar",
			Status: models.AgentOnline, Epoch: 77, // neither is the agent's to say
			Capacity: map[string]any{"maxSessions": 3.0, "cpu": "4"}, Metadata: map[string]any{"os": "nul \x00 \\u0000"}}
		stored, created, err := w.RegisterAgent(ctx, agent, noon)
		must(t, err)
		if !created || stored.Status != models.AgentOffline || stored.Epoch != 0 || stored.LastHeartbeat != nil || stored.Facilities != nil {
			t.Fatalf("a new agent is %+v (created %v)", stored, created)
		}
		if stored.Limit().Sessions != 3 || stored.HomeStore != "cellar" || stored.Metadata["os"] != "nul \ufffd \\u0000" || !stored.CreatedAt.Equal(noon) {
			t.Fatalf("a new agent is %+v", stored)
		}
		epoch, err := w.ConnectAgent(ctx, "a", noon)
		must(t, err)
		current, err := w.SetFacilities(ctx, "a", epoch, []string{"Xvnc"}, noon)
		must(t, err)
		if !current {
			t.Fatal("the newest epoch is not current")
		}
		again, created, err := w.RegisterAgent(ctx, models.Agent{ID: "a", Platform: "process"}, after(time.Hour))
		must(t, err)
		if created || again.Status != models.AgentOnline || again.Epoch != 1 || again.Platform != "process" || again.Region != "" || again.HomeStore != "" ||
			again.Capacity != nil || !again.CreatedAt.Equal(noon) || !again.UpdatedAt.Equal(after(time.Hour)) ||
			!slices.Equal(again.Facilities, []string{"Xvnc"}) {
			t.Fatalf("registered again it is %+v (created %v)", again, created)
		}
		read, err := w.Agent(ctx, "a")
		must(t, err)
		if !reflect.DeepEqual(read, again) {
			t.Fatalf("read back as %+v, stored as %+v", read, again)
		}
		_, err = w.Agent(ctx, "b")
		refused(t, err, models.CodeAgentUnknown)
	})
}

func TestEpochsRiseAndTheNewestRules(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		_, err := w.ConnectAgent(ctx, "a", noon)
		refused(t, err, models.CodeAgentUnknown)

		first := w.agent("a", 0)
		second, err := w.ConnectAgent(ctx, "a", after(time.Second))
		must(t, err)
		if first != 1 || second != 2 {
			t.Fatalf("epochs are %d and %d", first, second)
		}
		for name, write := range map[string]func(epoch int64) (bool, error){
			"disconnect": func(epoch int64) (bool, error) { return w.DisconnectAgent(ctx, "a", epoch, after(time.Minute)) },
			"heartbeat": func(epoch int64) (bool, error) {
				return w.heartbeat("a", epoch, wire.Heartbeat{Status: "draining"}, after(time.Minute))
			},
			"facilities": func(epoch int64) (bool, error) {
				return w.SetFacilities(ctx, "a", epoch, []string{}, after(time.Minute))
			},
		} {
			before, err := w.Agent(ctx, "a")
			must(t, err)
			for _, epoch := range []int64{first, second + 1} {
				current, err := write(epoch)
				must(t, err)
				if current {
					t.Errorf("%s: epoch %d is current", name, epoch)
				}
			}
			if now, _ := w.Agent(ctx, "a"); !reflect.DeepEqual(now, before) {
				t.Errorf("%s: a stale epoch wrote %+v", name, now)
			}
		}
		current, err := w.DisconnectAgent(ctx, "a", second, after(time.Minute))
		must(t, err)
		agent, err := w.Agent(ctx, "a")
		must(t, err)
		if !current || agent.Status != models.AgentOffline || agent.Epoch != 2 || !agent.LastHeartbeat.Equal(after(time.Second)) {
			t.Fatalf("disconnected (%v) it is %+v", current, agent)
		}
		// offline>online, then online>offline; the connection that took over changed nothing.
		if events := w.count("SELECT count(*) FROM events WHERE kind = 'agent.state' AND agent_id = 'a'"); events != 2 {
			t.Fatalf("%d events of the agent, want 2", events)
		}
	})
}

func TestConcurrentConnectsGetEpochsOfTheirOwn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 0)
		epochs := make([]int64, 32)
		for _, err := range together(len(epochs), func(i int) (err error) {
			epochs[i], err = w.ConnectAgent(t.Context(), "a", noon)
			return err
		}) {
			must(t, err)
		}
		slices.Sort(epochs)
		for i, epoch := range epochs {
			if epoch != int64(i+2) {
				t.Fatalf("the epochs are %v", epochs)
			}
		}
	})
}

func TestHeartbeats(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 5)
		beat := func(heartbeat wire.Heartbeat, now time.Time) models.Agent {
			t.Helper()
			current, err := w.heartbeat("a", epoch, heartbeat, now)
			must(t, err)
			if !current {
				t.Fatal("the newest epoch is not current")
			}
			agent, err := w.Agent(ctx, "a")
			must(t, err)
			if agent.LastHeartbeat == nil || !agent.LastHeartbeat.Equal(now) {
				t.Fatalf("the last heartbeat is %v, want %v", agent.LastHeartbeat, now)
			}
			return agent
		}
		if agent := beat(wire.Heartbeat{Status: "online"}, after(10*time.Second)); agent.Status != models.AgentOnline || agent.Limit().Sessions != 5 {
			t.Fatalf("without capacity, the old stays: %+v", agent)
		}
		if agent := beat(wire.Heartbeat{Status: "online", Capacity: map[string]any{"maxSessions": 7}}, after(20*time.Second)); agent.Limit().Sessions != 7 {
			t.Fatalf("the capacity is %v", agent.Capacity)
		}
		if agent := beat(wire.Heartbeat{Status: "draining"}, after(30*time.Second)); agent.Status != models.AgentDraining {
			t.Fatalf("a draining agent is %s", agent.Status)
		}
		if agent := beat(wire.Heartbeat{Status: "online"}, after(40*time.Second)); agent.Status != models.AgentDraining {
			t.Fatalf("a heartbeat ended draining: %s", agent.Status)
		}
		_, err := w.DisconnectAgent(ctx, "a", epoch, after(time.Minute))
		must(t, err)
		_, err = w.ConnectAgent(ctx, "a", after(time.Minute))
		must(t, err)
		if agent, _ := w.Agent(ctx, "a"); agent.Status != models.AgentDraining {
			t.Fatalf("a reconnect ended draining: %s", agent.Status)
		}
		// offline>online and online>draining
		if events := w.count("SELECT count(*) FROM events WHERE kind = 'agent.state' AND agent_id = 'a'"); events != 2 {
			t.Fatalf("%d events of the agent, want 2", events)
		}
		if current, err := w.heartbeat("nobody", 1, wire.Heartbeat{}, noon); err != nil || current {
			t.Fatalf("nobody's heartbeat: %v, %v", current, err)
		}
	})
}

func TestSaidNothingIsNotSaidToHaveNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		silent, err := w.Agent(t.Context(), "a")
		must(t, err)
		_, err = w.SetFacilities(t.Context(), "a", epoch, []string{}, noon)
		must(t, err)
		bare, err := w.Agent(t.Context(), "a")
		must(t, err)
		if len(silent.Lacks([]string{"Xvnc"})) != 0 || len(bare.Lacks([]string{"Xvnc"})) != 1 {
			t.Fatalf("facilities are %#v, then %#v", silent.Facilities, bare.Facilities)
		}
	})
}

func TestAgentsAreFilteredPagedAndLoaded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		for _, agent := range []models.Agent{
			{ID: "a1", Platform: "docker", Region: "eu", ClusterID: "x"}, {ID: "a2", Platform: "docker", Region: "us", ClusterID: "x"},
			{ID: "a3", Platform: "process", Region: "eu", ClusterID: "y"}, {ID: "a4", Platform: "process", Region: "us", ClusterID: "y"},
			{ID: "a5", Platform: "process", Region: "us", ClusterID: "y"},
		} {
			_, _, err := w.RegisterAgent(ctx, agent, noon)
			must(t, err)
			if agent.ID != "a5" {
				_, err = w.ConnectAgent(ctx, agent.ID, noon)
				must(t, err)
			}
		}
		w.session("s1", "a2", noon)
		w.session("s2", "a2", noon)
		w.session("s3", "a3", noon)
		ids := func(agents []models.Agent) (all []string) {
			for _, agent := range agents {
				all = append(all, agent.ID)
				if want := map[string]int{"a2": 2, "a3": 1}[agent.ID]; agent.Sessions != want {
					t.Fatalf("%s has %d sessions, want %d", agent.ID, agent.Sessions, want)
				}
			}
			slices.Sort(all)
			return all
		}
		for _, test := range []struct {
			filter db.AgentFilter
			want   []string
		}{
			{db.AgentFilter{}, []string{"a1", "a2", "a3", "a4", "a5"}},
			{db.AgentFilter{Platform: "docker"}, []string{"a1", "a2"}},
			{db.AgentFilter{Region: "us"}, []string{"a2", "a4", "a5"}},
			{db.AgentFilter{ClusterID: "y", Status: models.AgentOnline}, []string{"a3", "a4"}},
			{db.AgentFilter{Status: models.AgentOffline}, []string{"a5"}},
			{db.AgentFilter{Platform: "docker", Region: "mars"}, nil},
		} {
			candidates, err := w.Candidates(ctx, test.filter)
			must(t, err)
			equal(t, "candidates", ids(candidates), test.want)
			listed := pages(t, 2, func(page db.Page) ([]models.Agent, string, error) { return w.Agents(ctx, test.filter, page) })
			equal(t, "agents", ids(listed), test.want)
		}
		badPages(t, func(ctx context.Context, page db.Page) ([]models.Agent, string, error) {
			return w.Agents(ctx, db.AgentFilter{}, page)
		})
	})
}

func TestLoadIsTheLiveSessions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 0)
		w.session("s", "a", noon)
		for _, state := range models.SessionStates() {
			w.sql("UPDATE sessions SET state = '%s'", state)
			want := 0
			if state.Live() {
				want = 1
			}
			agent, err := w.Agent(t.Context(), "a")
			must(t, err)
			candidates, err := w.Candidates(t.Context(), db.AgentFilter{})
			must(t, err)
			if agent.Sessions != want || len(candidates) != 1 || candidates[0].Sessions != want {
				t.Errorf("a %s session counts %d and in a list %+v, want %d", state, agent.Sessions, candidates, want)
			}
			placed, err := w.AgentSessions(t.Context(), "a")
			must(t, err)
			if (len(placed) == 1) == state.Terminal() {
				t.Errorf("a %s session is listed %d times as placed", state, len(placed))
			}
		}
	})
}

// heartbeat records one heartbeat.
func (w *world) heartbeat(agentID string, epoch int64, heartbeat wire.Heartbeat, now time.Time) (bool, error) {
	current, err := w.RecordHeartbeats(w.t.Context(), []db.Pulse{{AgentID: agentID, Epoch: epoch, Heartbeat: heartbeat, At: now}})
	return current[agentID], err
}

// Heartbeats are written some time after they came.
func TestALateHeartbeatBringsNobodyBack(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		_, err := w.DisconnectAgent(t.Context(), "a", epoch, after(time.Second))
		must(t, err)
		_, err = w.heartbeat("a", epoch, wire.Heartbeat{Status: "online"}, after(2*time.Second))
		must(t, err)
		if agent, err := w.Agent(t.Context(), "a"); err != nil || agent.Status != models.AgentOffline || agent.Connected {
			t.Errorf("it is %s, connected %v (%v)", agent.Status, agent.Connected, err)
		}
	})
}

func TestHeartbeatsOfManyAgentsAreOneTransaction(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.agent("a", 0), w.agent("b", 0)
		w.agent("b", 0) // a newer connection
		draining := w.agent("c", 0)
		current, err := w.RecordHeartbeats(t.Context(), []db.Pulse{
			{AgentID: "c", Epoch: draining, Heartbeat: wire.Heartbeat{Status: "draining"}, At: after(3)},
			{AgentID: "a", Epoch: a, Heartbeat: wire.Heartbeat{Status: "online"}, At: after(time.Second)},
			{AgentID: "b", Epoch: b, Heartbeat: wire.Heartbeat{Status: "draining"}, At: after(time.Second)},
		})
		must(t, err)
		if !current["a"] || current["b"] || !current["c"] {
			t.Errorf("current are %v", current)
		}
		for id, want := range map[string]string{"a": models.AgentOnline, "b": models.AgentOnline, "c": models.AgentDraining} {
			if agent, err := w.Agent(t.Context(), id); err != nil || agent.Status != want {
				t.Errorf("%s is %s, %v", id, agent.Status, err)
			}
		}
		if agent, _ := w.Agent(t.Context(), "a"); !agent.LastHeartbeat.Equal(after(time.Second)) {
			t.Errorf("a was last heard at %v", agent.LastHeartbeat)
		}
	})
}
