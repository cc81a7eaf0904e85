package drivertest

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

func testTwoViewers(t *testing.T, b *bench) {
	b.startShell(t, first("shared"))
	one, two := b.view(t, first("shared")), b.view(t, first("shared"))
	one.write("echo from-$((1))\n")
	one.until("from-1")
	two.until("from-1")
	two.write("echo from-$((1+1))\n")
	one.until("from-2")
	two.until("from-2")

	// The window has the size of whoever resized last.
	one.resize(101, 31)
	eventually(t, "the window is the first viewer's", func() error { return same(one.ask("stty size"), "31 101") })
	two.resize(77, 22)
	eventually(t, "the window is the second viewer's", func() error { return same(one.ask("stty size"), "22 77") })

	// Somebody who comes later sees what there was, and does not miss the one
	// who has left.
	one.close()
	three := b.view(t, first("shared"))
	three.until("from-2")
	if got := three.ask("echo here"); got != "here" {
		t.Errorf("the session answers %q", got)
	}
	two.until("here")
}

func testEnvironment(t *testing.T, b *bench) {
	const secret = "streamspace-secret-of-the-agent"
	t.Setenv("STREAMSPACE_AGENT_KEY", secret)
	t.Setenv("SOMETHING_OF_THE_AGENT", secret)
	b.reopen(t)
	spec := b.harness.Terminal(first("clean"), shell)
	spec.Template.Spec.Env = append(spec.Template.Spec.Env, models.EnvVar{Name: "GREETING", Value: "hello = world"})
	b.start(t, spec)
	environment := b.view(t, first("clean")).ask("env")
	if strings.Contains(environment, secret) {
		t.Errorf("the session knows the agent's environment:\n%s", environment)
	}
	all := "\n" + environment + "\n"
	for _, setting := range []string{"GREETING=hello = world\n", "HOME=/", "STREAMSPACE_SESSION=clean\n"} {
		if strings.Count(all, "\n"+setting) != 1 {
			t.Errorf("the environment should have %q once:\n%s", setting, environment)
		}
	}
}

func testScreen(t *testing.T, b *bench) {
	if b.harness.Screen == nil {
		t.Skip("this driver has no screens")
	}
	started := b.start(t, b.harness.Screen(first("screen")))
	if started.Protocol != models.ProtocolVNC {
		t.Errorf("the protocol is %q", started.Protocol)
	}
	for range 2 {
		conn, err := b.driver.Dial(limited(t), first("screen"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		// RFC 6143, 7.1.1: the server speaks first.
		version := make([]byte, len("RFB 003.008\n"))
		if _, err := io.ReadFull(conn, version); err != nil || !bytes.HasPrefix(version, []byte("RFB ")) {
			t.Fatalf("the stream begins with %q, %v", version, err)
		}
		b.reopen(t)
	}
	b.stop(t, first("screen"))
	b.wantNothing(t, "screen")
}

func testMemoryLimit(t *testing.T, b *bench) {
	if !b.harness.LimitsMemory {
		t.Skip("SKIPPED: this driver does not limit memory on this machine")
	}
	exits, _ := b.exits(t)
	spec := b.harness.Terminal(first("hungry"), shell)
	spec.Resources = models.Resources{Memory: "64Mi", CPU: "1"}
	b.start(t, spec)
	// tail keeps a line that does not end.
	b.view(t, first("hungry")).write("exec tail -n 1 /dev/zero\n")
	exit := next(t, exits)
	if exit.Ref != first("hungry") || exit.Clean || !strings.Contains(exit.Reason, "memory") || !strings.Contains(exit.Reason, "64Mi") {
		t.Errorf("the exit is %+v", exit)
	}
	b.eventuallyNothing(t, "hungry")
}

func testPersistentHome(t *testing.T, b *bench) {
	keeping := func(ref driver.Ref, user string) driver.Spec {
		spec := b.harness.Terminal(ref, shell)
		spec.User, spec.PersistentHome = user, true
		return spec
	}
	b.start(t, keeping(first("before"), "alice"))
	v := b.view(t, first("before"))
	v.ask("echo precious > kept.txt; mkdir -p deep/er; echo too > deep/er/file")
	b.stop(t, first("before"))
	b.wantNothing(t, "before")

	b.reopen(t)
	b.start(t, keeping(first("after"), "alice"))
	if got := b.view(t, first("after")).ask("cat kept.txt deep/er/file; echo more >> kept.txt; cat kept.txt"); got != "precious\ntoo\nprecious\nmore" {
		t.Errorf("the home holds %q", got)
	}
	// Another user's home, names that a path would confuse, and no home to keep.
	for id, spec := range map[string]driver.Spec{
		"other":  keeping(first("other"), "bob"),
		"dotted": keeping(first("dotted"), "../alice"),
		"fleet":  b.harness.Terminal(first("fleet"), shell),
	} {
		b.start(t, spec)
		if got := b.view(t, first(id)).ask("ls -A kept.txt 2>/dev/null || echo none"); got != "none" {
			t.Errorf("session %s has %q", id, got)
		}
		b.stop(t, first(id))
		b.wantNothing(t, id)
	}
	b.stop(t, first("after"))
}

// Directories that their owner may not write to, as Go's module cache has them,
// are no obstacle.
func testHomeRemoved(t *testing.T, b *bench) {
	b.startShell(t, first("stiff"))
	if got := b.view(t, first("stiff")).ask("mkdir -p a/b; touch a/b/c; chmod -R a-w a; chmod a-rx a/b; echo $HOME"); got == "" {
		t.Error("the session has no home")
	}
	b.stop(t, first("stiff"))
	b.wantNothing(t, "stiff")
}

func testHomeInUse(t *testing.T, b *bench) {
	keeping := func(ref driver.Ref) driver.Spec {
		spec := b.harness.Terminal(ref, shell)
		spec.PersistentHome = true
		return spec
	}
	b.start(t, keeping(first("owner")))
	_, err := b.driver.Start(limited(t), keeping(first("second")))
	wantCode(t, err, models.CodeUnavailable)
	if !strings.Contains(err.Error(), "home") || !strings.Contains(err.Error(), "owner") {
		t.Errorf("the error should tell which session has the home: %v", err)
	}
	b.wantNothing(t, "second")
	b.wantRunning(t, first("owner"))
	if got := b.view(t, first("owner")).ask("echo mine > claim; cat claim"); got != "mine" {
		t.Errorf("the first session answers %q", got)
	}
	// The next generation of the same session takes it over.
	again := driver.Ref{SessionID: "owner", Generation: 2}
	b.start(t, keeping(again))
	if got := b.view(t, again).ask("cat claim"); got != "mine" {
		t.Errorf("the home holds %q", got)
	}
	b.stop(t, again)
	b.start(t, keeping(first("second")))
	if got := b.view(t, first("second")).ask("cat claim"); got != "mine" {
		t.Errorf("the home holds %q", got)
	}
}

func same(got, want string) error {
	if got != want {
		return fmt.Errorf("it is %q, not %q", got, want)
	}
	return nil
}
