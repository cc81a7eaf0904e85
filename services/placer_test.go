package services

import (
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
)

// An agent is decided on by a picture of the fleet, which may be old.
func TestAnAgentThatChangedIsNotTaken(t *testing.T) {
	database := dbtest.SQLite(t, db.Options{})
	hub := websocket.NewAgentHub(database)
	sessions := NewSessions(database, NewAgentSelector(database.DB(), hub), NewCommandDispatcher(database, hub),
		SessionsOptions{})
	ctx, now := t.Context(), time.Now()
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	owner, err := database.EnsureUser(ctx, "ann", models.RoleUser, now)
	must(t, err)
	must(t, database.SaveTemplates(ctx, nil, []models.Template{{Metadata: models.TemplateMetadata{Name: "desk"}}}, now))
	be := func(region string) {
		t.Helper()
		_, _, err := database.RegisterAgent(ctx, models.Agent{ID: "a", Platform: models.PlatformProcess, Region: region}, now)
		must(t, err)
	}
	be("here")
	_, err = database.ConnectAgent(ctx, "a", now)
	must(t, err)
	launch := func(id string) (models.Session, error) {
		none := time.Duration(0)
		session, _, err := sessions.Launch(ctx, LaunchRequest{ID: id, Template: "desk", Region: "here", Owner: owner, Wait: &none})
		return session, err
	}
	first, err := launch("first")
	must(t, err)
	if first.AgentID != "a" {
		t.Fatalf("it is on %q", first.AgentID)
	}
	sessions.placer.fleet.took = time.Hour // the picture may be used for long
	be("there")
	if second, err := launch("second"); models.CodeOf(err) != models.CodeNoSuitableAgent {
		t.Errorf("it is on %q in %q (%v)", second.AgentID, second.Region, err)
	}
}
