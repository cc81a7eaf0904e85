package process_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// Agents whose homes are on the same storage have the same homes, and one
// runtime at a time uses each, whichever agent it is of.
func TestOwnHomeStore(t *testing.T) {
	store := passableDir(t)
	sharing := func() *opened {
		dir := passableDir(t)
		if err := os.Symlink(store, filepath.Join(dir, "homes")); err != nil {
			t.Fatal(err)
		}
		return open(t, process.Config{Dir: dir})
	}
	a, b := sharing(), sharing()
	spec := func(sessionID string, generation int64, script string) driver.Spec {
		spec := terminal(driver.Ref{SessionID: sessionID, Generation: generation}, "sh", "-c", script+"; sleep 1000")
		spec.PersistentHome = true
		return spec
	}
	inUse := func(by *opened, sessionID string) {
		t.Helper()
		_, err := by.Start(program.Limit(t), spec(sessionID, 1, "true"))
		if models.CodeOf(err) != models.CodeUnavailable || !strings.Contains(err.Error(), "home of alice") || !strings.Contains(err.Error(), "in use") {
			t.Fatalf("a home that is in use elsewhere: %v", err)
		}
		if left := by.Left(t, sessionID); len(left) > 0 {
			t.Errorf("there is left:\n%s", strings.Join(left, "\n"))
		}
	}
	wrote := func(name, want string) {
		t.Helper()
		program.Eventually(t, name+" is in the home", 30*time.Second, func() error {
			content, err := os.ReadFile(filepath.Join(store, "alice", "shell", name))
			if err == nil && string(content) != want {
				err = errors.New("it has " + string(content))
			}
			return err
		})
	}
	a.start(t, spec("one", 1, "echo first > kept"))
	wrote("kept", "first\n")
	inUse(b, "two")
	if err := a.Stop(program.Limit(t), driver.Ref{SessionID: "one", Generation: 2}); err != nil {
		t.Fatal(err)
	}
	moved := b.start(t, spec("one", 3, "cat kept kept > copy"))
	wrote("copy", "first\nfirst\n")
	inUse(a, "two")

	// What a dead supervisor has left on one agent is cleared away without the
	// user's session on another one.
	b.Kill(t, moved)
	program.Eventually(t, "the home is free", 30*time.Second, func() error {
		_, err := a.Start(program.Limit(t), spec("three", 1, "true"))
		return err
	})
	inUse(b, "two")
	inventory, err := a.Inventory(t.Context())
	if err != nil || len(inventory) != 1 {
		t.Fatalf("the inventory is %v, %v", inventory, err)
	}
	a.processOf(t, "three", "sleep")
}
