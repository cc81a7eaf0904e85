package services_test

import (
	"fmt"
	"testing"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

// Between agents with as many sessions, one that says that it holds the
// template's image is better.
func TestASessionGoesWhereItsImageIs(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		boxed := models.Template{Metadata: models.TemplateMetadata{Name: "boxed"}}
		boxed.Spec.BaseImage = "docker.io/library/desk:latest"
		w.saveTemplate(boxed)
		for i := range 8 {
			id := fmt.Sprint("agent-", i)
			w.register(models.Agent{ID: id, Platform: models.PlatformDocker})
			agent := w.negotiate(id)
			if i == 5 {
				agent.send(wire.TypeImages, wire.Images{Names: []string{"other:1", "desk"}})
				w.await("the images are known", func() bool {
					stored, err := database.Agent(t.Context(), id)
					return err == nil && stored.HoldsImage(boxed.Spec.BaseImage)
				})
			}
		}
		if got := w.ask("one", w.owner, func(r *services.LaunchRequest) { r.Template = "boxed" }).AgentID; got != "agent-5" {
			t.Errorf("the session is on %s", got)
		}
	})
}
