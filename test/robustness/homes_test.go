package robustness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/test/program"
)

// The files in a persistent home: memo is written while its session runs, and
// seen is what the session finds of it when it starts.
const (
	memo = "memo"
	seen = "seen"
)

// homes are so many sessions with homes at once: one for each user and template.
const homes = 3

// templates is where the world's own templates are.
func (w *world) templates() string { return filepath.Join(w.dir, "templates") }

// saveTemplates makes the templates that keep homes.
func (w *world) saveTemplates() {
	w.t.Helper()
	if err := os.Mkdir(w.templates(), 0o755); err != nil {
		w.t.Fatal(err)
	}
	for i := range homes {
		w.saveTemplate(homeTemplate(i), true)
	}
}

// saveTemplate makes a template for the next start of the control plane.
func (w *world) saveTemplate(name string, keepsHome bool) {
	w.t.Helper()
	template := fmt.Sprintf(`apiVersion: streamspace.io/v1
kind: Template
metadata: {name: %s}
spec:
  displayName: Shell
  protocol: terminal
  platforms: [process]
  persistentHome: %v
  process: {command: [sh, -c, "cp -f %s %s 2>/dev/null; exec sh"]}
`, name, keepsHome, memo, seen)
	if err := os.WriteFile(filepath.Join(w.templates(), name+".yaml"), []byte(template), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func homeTemplate(i int) string { return fmt.Sprint("kept-", i) }

// home is the persistent home of the session, the i'th of those that have one.
func (w *world) home(i int) string {
	return filepath.Join(w.agentDir(), "homes", "admin", homeTemplate(i))
}

// launchHomes launches sessions that keep their homes, each with its id in its
// memo.
func (w *world) launchHomes(count int) []string {
	w.t.Helper()
	ids := w.ids(count)
	api := w.api()
	w.ask(ids, func(ctx context.Context, id string) error {
		_, err := api.Launch(ctx, client.LaunchRequest{ID: id, Template: homeTemplate(slices.Index(ids, id))})
		return err
	}).accepted()
	w.running(ids)
	w.once(ids)
	for i, id := range ids {
		if err := os.WriteFile(filepath.Join(w.home(i), memo), []byte(id), 0o644); err != nil { //nolint:gosec // the session's user reads it
			w.t.Fatal(err)
		}
	}
	return ids
}

// hibernating asks sessions to hibernate, all at once.
func (w *world) hibernating(ids []string) *asked {
	for _, id := range ids {
		delete(w.pids, id)
	}
	api := w.api()
	return w.ask(ids, func(ctx context.Context, id string) error {
		_, err := api.Hibernate(ctx, id)
		return err
	})
}

// waking asks sessions to wake, all at once.
func (w *world) waking(ids []string) *asked {
	api := w.api()
	return w.ask(ids, func(ctx context.Context, id string) error {
		_, err := api.Wake(ctx, id, client.WakeRequest{})
		return err
	})
}

// kept waits until a file in the homes of sessions holds their ids.
func (w *world) kept(ids []string, file string) {
	w.t.Helper()
	for i, id := range ids {
		program.Eventually(w.t, "the home of "+id+" has its "+file, 30*time.Second, func() error {
			content, err := os.ReadFile(filepath.Join(w.home(i), file))
			if err == nil && strings.TrimSpace(string(content)) != id {
				err = fmt.Errorf("it holds %q", content)
			}
			return err
		})
	}
}
