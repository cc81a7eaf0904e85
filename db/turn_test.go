package db

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/models"
)

func TestWritersWaitForTheirTurnUnderTheirDeadline(t *testing.T) {
	database, err := Open(t.Context(), filepath.Join(t.TempDir(), "test.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = database.Close() }()
	if err := database.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	database.turn <- struct{}{} // somebody writes
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = database.EnsureUser(ctx, "ann", models.RoleUser, time.Now())
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "turn") {
		t.Fatalf("the error is %v", err)
	}
	if _, err := database.CountSessions(t.Context()); err != nil {
		t.Fatalf("a reader waited for the writer: %v", err)
	}
	<-database.turn
	if _, err := database.EnsureUser(t.Context(), "ann", models.RoleUser, time.Now()); err != nil {
		t.Fatal(err)
	}
}

func TestEveryCallHasADeadline(t *testing.T) {
	ctx, cancel := bounded(t.Context())
	defer cancel()
	if deadline, has := ctx.Deadline(); !has || time.Until(deadline) > callWithin {
		t.Fatalf("the deadline is %v (%v)", deadline, has)
	}
	own, cancelOwn := context.WithTimeout(t.Context(), time.Hour)
	defer cancelOwn()
	ctx, cancel = bounded(own)
	defer cancel()
	if ctx != own {
		t.Fatal("a caller's own deadline was replaced")
	}
}
