package services_test

import (
	"fmt"
	"testing"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// A session goes where its home is, also when that is not the emptiest agent.
func TestASessionGoesToItsHome(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		kept := models.Template{Metadata: models.TemplateMetadata{Name: "kept"}}
		kept.Spec.PersistentHome = true
		desk := models.Template{Metadata: models.TemplateMetadata{Name: "desk"}}
		if err := database.SaveTemplates(t.Context(), nil, []models.Template{kept, desk}, w.clock.Now()); err != nil {
			t.Fatal(err)
		}
		keep := func(r *services.LaunchRequest) { r.Template = "kept" }
		for _, id := range []string{"a", "b"} {
			w.register(models.Agent{ID: id})
			w.connect(id)
		}
		home := w.ask("first", w.owner, keep).AgentID
		w.exec("UPDATE sessions SET state = 'terminated'")
		for i := range 4 {
			w.exec(fmt.Sprintf(`INSERT INTO sessions (id, name, user_id, template, state, desired_state, generation, agent_id, spec, created_at, updated_at, state_since)
				SELECT 'other-%d', name, user_id, 'desk', 'running', 'running', 1, agent_id, spec, created_at, updated_at, state_since FROM sessions WHERE id = 'first'`, i))
		}
		if again := w.ask("second", w.owner, keep); again.AgentID != home {
			t.Errorf("the home is on %s, and the session on %s", home, again.AgentID)
		}
		if other := w.ask("third", w.owner); other.AgentID == home {
			t.Errorf("a session without a home is on the fuller agent %s", home)
		}
		if another := w.ask("fourth", w.user("bob"), keep); another.AgentID == home {
			t.Errorf("another user's session is drawn to the home")
		}
	})
}

// Between agents with as many sessions, a user's own are kept apart.
func TestAUsersSessionsAreKeptApart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		for i := range 4 {
			id := fmt.Sprint("agent-", i)
			w.register(models.Agent{ID: id})
			w.connect(id)
		}
		bob := w.user("bob")
		on := map[string]map[string]int{w.owner.ID: {}, bob.ID: {}}
		for round := range 4 { // in each round every agent gets one
			for i := range 4 {
				owner := []models.User{w.owner, bob}[i/2]
				on[owner.ID][w.ask(fmt.Sprintf("s-%d-%d", round, i), owner).AgentID]++
			}
		}
		for owner, agents := range on {
			for agent, sessions := range agents {
				if sessions > 3 {
					t.Errorf("%s has %d of 8 sessions on %s: %v", owner, sessions, agent, agents)
				}
			}
		}
	})
}
