package services_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

func TestLaunchWritesSessionAndCommand(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.saveTemplate(models.Template{Metadata: models.TemplateMetadata{Name: "desk"}, Spec: models.TemplateSpec{
		DisplayName: "Desk", Protocol: models.ProtocolTerminal, PersistentHome: true,
		DefaultResources: models.Resources{CPU: "2", Memory: "1Gi"}}})
	w.register(models.Agent{ID: "a", Region: "eu", ClusterID: "c"})
	w.connect("a")
	session, existed, err := w.sessions.Launch(t.Context(), services.LaunchRequest{Template: "desk",
		Resources: models.Resources{Memory: "2Gi"}, Owner: w.owner})
	if err != nil || existed {
		t.Fatal(existed, err)
	}
	if !regexp.MustCompile(`^[a-z2-7]{12,}$`).MatchString(session.ID) {
		t.Errorf("the made-up id is %q", session.ID)
	}
	if session.Name != "Desk" || session.User != "ann" || session.State != models.SessionPending || session.Generation != 1 ||
		session.DesiredState != models.DesiredRunning || session.Protocol != models.ProtocolTerminal || session.AgentID != "a" ||
		session.Region != "eu" || session.ClusterID != "c" || session.Platform != models.PlatformProcess ||
		session.Resources != (models.Resources{CPU: "2", Memory: "2Gi"}) {
		t.Errorf("the session is %+v", session)
	}
	commands := w.sessionCommands(session.ID)
	if len(commands) != 1 {
		t.Fatalf("%d commands", len(commands))
	}
	payload := *commands[0].Payload
	for key, want := range map[string]any{"sessionId": session.ID, "user": "ann", "template": "desk", "memory": "2Gi", "cpu": "2",
		"persistentHome": true, "generation": 1.0} {
		if payload[key] != want {
			t.Errorf("the start's %s is %v, want %v", key, payload[key], want)
		}
	}
	if want := w.clock.Now().Add(services.DefaultCommandDeadline); !commands[0].DeadlineAt.Equal(want) {
		t.Errorf("the deadline is %s, want %s", commands[0].DeadlineAt, want)
	}
}

func TestLaunchWithAnIDIsSafeToRepeat(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.register(models.Agent{ID: "a", Capacity: map[string]interface{}{"maxSessions": 1}})
		w.connect("a")
		request := services.LaunchRequest{ID: "mine", Template: "desk", Owner: w.owner}
		if _, existed, err := w.sessions.Launch(t.Context(), request); err != nil || existed {
			t.Fatal(existed, err)
		}
		w.saveTemplate(models.Template{Metadata: models.TemplateMetadata{Name: "desk"}, Spec: models.TemplateSpec{DisplayName: "Other"}})
		// The agent is full now, which is nothing to a repeat.
		again, existed, err := w.sessions.Launch(t.Context(), request)
		if err != nil || !existed || again.Name != "Desk" {
			t.Fatalf("the repeat gave %+v, %v, %v", again, existed, err)
		}
		other := request
		other.Name = "other"
		_, _, err = w.sessions.Launch(t.Context(), other)
		mustCode(t, err, models.CodeSessionConflict)
		stranger := request
		if stranger.Owner, err = w.database.EnsureUser(t.Context(), "bob", models.RoleUser, w.clock.Now()); err != nil {
			t.Fatal(err)
		}
		_, _, err = w.sessions.Launch(t.Context(), stranger)
		mustCode(t, err, models.CodeSessionConflict)
		if commands := w.sessionCommands("mine"); len(commands) != 1 {
			t.Errorf("%d commands for one launch", len(commands))
		}
	})
}

func TestLaunchRefusesBadRequestsAndWritesNothing(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	w.connect("a")
	w.saveTemplate(models.Template{Metadata: models.TemplateMetadata{Name: "desk"}, Spec: models.TemplateSpec{
		Platforms: []string{"process"}}})
	whole := services.LaunchRequest{Template: "desk", Owner: w.owner}
	for name, c := range map[string]struct {
		change func(*services.LaunchRequest)
		code   models.ErrorCode
	}{
		"unknown template": {func(r *services.LaunchRequest) { r.Template = "none" }, models.CodeTemplateUnknown},
		"no template":      {func(r *services.LaunchRequest) { r.Template = "" }, models.CodeInvalidRequest},
		"no owner":         {func(r *services.LaunchRequest) { r.Owner = models.User{} }, models.CodeInvalidRequest},
		"id in capitals":   {func(r *services.LaunchRequest) { r.ID = "Mine" }, models.CodeInvalidRequest},
		"id with a dash":   {func(r *services.LaunchRequest) { r.ID = "-a" }, models.CodeInvalidRequest},
		"id too long":      {func(r *services.LaunchRequest) { r.ID = strings.Repeat("a", 64) }, models.CodeInvalidRequest},
		"name too long":    {func(r *services.LaunchRequest) { r.Name = strings.Repeat("a", 101) }, models.CodeInvalidRequest},
		"name of controls": {func(r *services.LaunchRequest) { r.Name = "a\x00" }, models.CodeInvalidRequest},
		"bad memory":       {func(r *services.LaunchRequest) { r.Resources.Memory = "lots" }, models.CodeInvalidRequest},
		"foreign platform": {func(r *services.LaunchRequest) { r.Platform = "docker" }, models.CodeInvalidRequest},
		"foreign region":   {func(r *services.LaunchRequest) { r.Region = "mars" }, models.CodeNoSuitableAgent},
	} {
		request := whole
		c.change(&request)
		if _, _, err := w.sessions.Launch(t.Context(), request); models.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	sessions, _, err := w.database.Sessions(t.Context(), db.SessionFilter{}, db.Page{})
	if err != nil || len(sessions) != 0 {
		t.Errorf("%d sessions were written (%v)", len(sessions), err)
	}
}

func TestLaunchSaysWhatToInstall(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.saveTemplate(models.Template{Metadata: models.TemplateMetadata{Name: "desk"}, Spec: models.TemplateSpec{
		Process: &models.ProcessSpec{Needs: []models.Need{{Command: "Xvnc", Install: "apt-get install tigervnc-standalone-server"}}}}})
	w.register(models.Agent{ID: "a"})
	agent := w.negotiate("a")
	agent.send(wire.TypeFacilities, wire.Facilities{Present: []string{}})
	agent.settle()
	_, _, err := w.sessions.Launch(t.Context(), services.LaunchRequest{Template: "desk", Owner: w.owner})
	mustCode(t, err, models.CodeNoSuitableAgent)
	var told *models.Error
	if !errors.As(err, &told) || !strings.Contains(told.Message, "Xvnc (apt-get install tigervnc-standalone-server)") {
		t.Errorf("the error is %v", err)
	}
}

// The API may reach any replica, and with it every agent.
func TestLaunchTakesAnAgentOfAnotherReplica(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.register(models.Agent{ID: "a"})
		if _, err := database.ConnectAgent(t.Context(), "a", w.clock.Now()); err != nil { // as another replica would
			t.Fatal(err)
		}
		session, _, err := w.sessions.Launch(t.Context(), services.LaunchRequest{Template: "desk", Owner: w.owner, Wait: new(time.Duration)})
		if err != nil || session.AgentID != "a" {
			t.Errorf("%+v, %v", session, err)
		}
	})
}

func TestRacingLaunchesNeverOverfillAgents(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		for id, limit := range map[string]int{"a": 1, "b": 1, "c": 8} {
			w.register(models.Agent{ID: id, Capacity: map[string]interface{}{"maxSessions": limit}})
			w.connect(id)
		}
		race := func(round string) int {
			var racing sync.WaitGroup
			var launched atomic.Int32
			for i := range 10 {
				racing.Go(func() {
					_, _, err := w.sessions.Launch(t.Context(), services.LaunchRequest{ID: fmt.Sprint(round, i), Template: "desk", Owner: w.owner, Wait: new(time.Duration)})
					switch models.CodeOf(err) {
					case "":
						launched.Add(1)
					case models.CodeNoSuitableAgent:
					default:
						t.Error(err)
					}
				})
			}
			racing.Wait()
			return int(launched.Load())
		}
		if got := race("fits"); got != 10 {
			t.Errorf("%d of 10 sessions were launched on room for 10", got)
		}
		if got := race("full"); got != 0 {
			t.Errorf("%d sessions were launched on full agents", got)
		}
		agents, err := w.database.Candidates(t.Context(), db.AgentFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, agent := range agents {
			if int64(agent.Sessions) > agent.Limit().Sessions {
				t.Errorf("agent %s has %d sessions of %d", agent.ID, agent.Sessions, agent.Limit().Sessions)
			}
		}
	})
}

func TestStopEndsASessionInEveryState(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")

		_, err := w.sessions.Stop(t.Context(), "nobody", "user:ann")
		mustCode(t, err, models.CodeSessionUnknown)

		// Still starting: the stop follows the start, and the start's late
		// success brings nothing back.
		w.launch("early")
		start := agent.command()
		stopping, err := w.sessions.Stop(t.Context(), "early", "user:ann")
		if err != nil || stopping.State != models.SessionTerminating || stopping.DesiredState != models.DesiredTerminated {
			t.Fatalf("stopping gave %+v, %v", stopping, err)
		}
		stop := agent.command()
		agent.send(wire.TypeComplete, wire.Complete{CommandID: start.CommandID})
		w.awaitCommand(start.CommandID, models.CommandCompleted)
		if session := w.session("early"); session.State != models.SessionTerminating {
			t.Errorf("a late start made the stopping session %s", session.State)
		}
		if again, err := w.sessions.Stop(t.Context(), "early", "user:ann"); err != nil || again.Generation != stopping.Generation {
			t.Errorf("stopping twice gave %+v, %v", again, err)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: stop.CommandID})
		w.awaitSession("early", models.SessionTerminated)
		if ended, err := w.sessions.Stop(t.Context(), "early", "user:ann"); err != nil || ended.State != models.SessionTerminated {
			t.Errorf("stopping what has ended gave %+v, %v", ended, err)
		}
		if commands := w.sessionCommands("early"); len(commands) != 2 {
			t.Errorf("%d commands for one start and one stop", len(commands))
		}

		// The agent is away: the stop waits for it.
		w.run("late", agent)
		w.disconnect(agent)
		if _, err := w.sessions.Stop(t.Context(), "late", "user:ann"); err != nil {
			t.Fatal(err)
		}
		agent = w.connect("a")
		stop = agent.command()
		if stop.Action != models.ActionStopSession {
			t.Fatalf("got %+v", stop)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: stop.CommandID})
		w.awaitSession("late", models.SessionTerminated)
	})
}
