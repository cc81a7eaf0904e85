package db_test

import (
	"testing"
	"time"

	"github.com/streamspace/streamspace/models"
)

func TestImagesAreKeptBesideWhatElseTheAgentSays(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		old := w.agent("a", 0)
		_, _, err := w.RegisterAgent(ctx, models.Agent{ID: "a", Platform: models.PlatformDocker, Metadata: map[string]any{"kernel": "6"}}, noon)
		must(t, err)
		epoch, err := w.ConnectAgent(ctx, "a", noon)
		must(t, err)
		current, err := w.SetImages(ctx, "a", epoch, []string{"desk:1", "busy\x00box"}, after(time.Second))
		must(t, err)
		agent, err := w.Agent(ctx, "a")
		must(t, err)
		if !current || !agent.HoldsImage("docker.io/library/desk:1") || agent.Metadata["kernel"] != "6" || !agent.UpdatedAt.Equal(after(time.Second)) {
			t.Errorf("the agent is %+v", agent)
		}
		if current, err := w.SetImages(ctx, "a", old, []string{"late"}, noon); err != nil || current {
			t.Errorf("on an old connection it counts: %v", err)
		}
		current, err = w.SetImages(ctx, "a", epoch, nil, noon)
		must(t, err)
		if agent, err = w.Agent(ctx, "a"); err != nil || !current || len(agent.Images()) != 0 {
			t.Errorf("with none the agent is %+v, %v", agent, err)
		}
	})
}
