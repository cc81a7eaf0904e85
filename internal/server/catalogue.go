package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/internal/catalog"
)

// saveCatalogue puts the built-in templates and those of files into the
// database. A file that is wrong is logged and left out: one mistake must not
// take every session away.
func saveCatalogue(ctx context.Context, database *db.Database, dir string, now time.Time, logger *slog.Logger) error {
	if err := makeDir(dir); err != nil {
		return err
	}
	builtin, err := catalog.Builtin()
	if err != nil {
		return fmt.Errorf("read the built-in templates: %w", err)
	}
	files, problems := catalog.Load(dir)
	for _, problem := range problems {
		logger.Warn("a template is left out", "error", problem)
	}
	if err := database.SaveTemplates(ctx, builtin, files, now); err != nil {
		return fmt.Errorf("save the templates: %w", err)
	}
	return nil
}

// neededFor is for how long what templates need is not asked for again: each
// agent's inventory does, and there may be thousands.
const neededFor = 5 * time.Second

// needs tells what templates need on the process platform. Templates may be
// applied at any time, through any replica. Safe for concurrent use.
type needs struct {
	database *db.Database
	logger   *slog.Logger

	mu    sync.Mutex
	known []string
	since time.Time
}

// list gives what was known last where the database does not answer.
func (n *needs) list(ctx context.Context) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known != nil && time.Since(n.since) < neededFor {
		return n.known
	}
	needed, err := n.database.TemplateNeeds(ctx)
	if err != nil {
		n.logger.Warn("what templates need is not known", "error", err)
		return n.known
	}
	n.known, n.since = needed, time.Now()
	return needed
}
