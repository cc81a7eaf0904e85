package runtimedir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process/internal/cgroup"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
)

func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ref := driver.Ref{
			SessionID:  rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z0-9./%-]+`)).Draw(t, "id"),
			Generation: rapid.Int64().Draw(t, "generation"),
		}
		name := runtimedir.Name(ref)
		if strings.ContainsAny(name, "/\x00") || strings.HasPrefix(name, ".") && ref.SessionID != "" || name != filepath.Base(name) {
			t.Fatalf("%q is no plain file name", name)
		}
		if back, ok := runtimedir.Parse(name); ref.SessionID != "" && (!ok || back != ref) {
			t.Fatalf("%+v became %q and that %+v, %v", ref, name, back, ok)
		}
	})
	if got := runtimedir.Name(driver.Ref{SessionID: "my-desk", Generation: 3}); got != "my-desk.3" {
		t.Errorf("a plain id becomes %q", got)
	}
}

// What is not ours is not taken for it.
func TestForeignNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "x", "x.", ".1", "x.one", "x.1.new", "x.01", "x.+1", "x%2.1", "x%zz.1", "%61.1", "a b.1", "é.1"} {
		if ref, ok := runtimedir.Parse(name); ok {
			t.Errorf("%q is taken for %+v", name, ref)
		}
	}
}

func TestEscapeTellsTextsApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, two := rapid.String().Draw(t, "one"), rapid.String().Draw(t, "two")
		if one != two && runtimedir.Escape(one) == runtimedir.Escape(two) {
			t.Fatalf("%q and %q are both %q", one, two, runtimedir.Escape(one))
		}
	})
	if got := runtimedir.Escape("../alice@example.com"); got != "%2E.%2Falice%40example.com" {
		t.Errorf("it is %q", got)
	}
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	if state, err := runtimedir.Read(dir); err != nil || state.Ready {
		t.Errorf("of nothing the state is %+v, %v", state, err)
	}
	state := runtimedir.State{
		SessionID: "desk", Generation: 4, User: "alice", Template: "desktop", Protocol: models.ProtocolVNC,
		StartedAt: time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC), Ready: true, End: &runtimedir.End{Clean: true, Reason: "over"},
		UID: 7, Display: 123, Group: cgroup.Group{Of: map[string]cgroup.Place{cgroup.Memory: {Dir: "/x", Version: 2}}},
		TimeLimits: models.TimeLimits{IdleTimeout: "30m", OnLimit: models.OnLimitStop},
		Limits:     map[string]string{"memory": "1Gi by control group"},
	}
	for _, durable := range []bool{false, true} {
		if err := runtimedir.Write(dir, state, durable); err != nil {
			t.Fatal(err)
		}
		got, err := runtimedir.Read(dir)
		if err != nil || got.Ref() != state.Ref() || !got.StartedAt.Equal(state.StartedAt) || *got.End != *state.End || got.TimeLimits != state.TimeLimits ||
			got.Group.Of[cgroup.Memory] != state.Group.Of[cgroup.Memory] || got.Limits["memory"] != state.Limits["memory"] {
			t.Errorf("%+v became %+v, %v", state, got, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("writing leaves %v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode() != 0o600 {
		t.Errorf("others may read the state: %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, entries[0].Name()), []byte(`{"ready":tr`), 0o600); err != nil {
		t.Fatal(err)
	}
	if state, err := runtimedir.Read(dir); err != nil || state.Ready {
		t.Errorf("a spoilt state is %+v, %v", state, err)
	}
}

func TestGroupNames(t *testing.T) {
	one, two := runtimedir.GroupName("/var/lib/a/sessions/desk.1"), runtimedir.GroupName("/var/lib/b/sessions/desk.1")
	if one == two || !strings.HasPrefix(one, "streamspace-desk.1-") || strings.Contains(one, "/") {
		t.Errorf("two agents' groups are %q and %q", one, two)
	}
	if long := runtimedir.GroupName("/" + strings.Repeat("x", 255)); len(long) > 200 {
		t.Errorf("the name has %d bytes", len(long))
	}
}
