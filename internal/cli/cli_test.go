package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/internal/cli"
	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/internal/server"
)

// run runs one command line.
func run(t *testing.T, env map[string]string, args ...string) (status int, out, errors string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	lookup := func(name string) (string, bool) {
		value, set := env[name]
		return value, set
	}
	status = cli.Run(t.Context(), args, programs(&stdout), cli.Streams{Out: &stdout, Err: &stderr, Environment: lookup})
	return status, stdout.String(), stderr.String()
}

// programs say only that they would run, and with what.
func programs(out *bytes.Buffer) cli.Programs {
	say := func(configuration any) error { return json.NewEncoder(out).Encode(configuration) }
	return cli.Programs{
		Up:      func(_ context.Context, c config.Up, _ cli.Streams) error { return say(c) },
		Server:  func(_ context.Context, c config.Server, _ cli.Streams) error { return say(c) },
		Agent:   func(_ context.Context, c config.Agent, _ cli.Streams) error { return say(c) },
		Migrate: func(_ context.Context, c config.Migrate, _ cli.Streams) error { return say(c) },
		Version: cli.Version{Version: "v1.2.3", Commit: "abcdef", Date: "2026-01-02", Go: "go1.99", Platform: "linux/amd64"},
	}
}

// serve runs a control plane in this process, with the templates besides those
// that are built in, and gives the environment to reach it with.
func serve(t *testing.T, templates ...string) map[string]string {
	t.Helper()
	configuration := config.NewServer()
	configuration.DataDir = filepath.Join(t.TempDir(), "data")
	configuration.Templates = t.TempDir()
	for i, template := range templates {
		if err := os.WriteFile(filepath.Join(configuration.Templates, fmt.Sprint(i, ".yaml")), []byte(template), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configuration.Listen = "127.0.0.1:0"
	running, err := server.New(t.Context(), configuration, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"STREAMSPACE_SERVER": running.URL().String(), "STREAMSPACE_DATA_DIR": configuration.DataDir}
}

// must runs a command line that has to succeed, and gives its output.
func must(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	status, out, errors := run(t, env, args...)
	if status != 0 {
		t.Fatalf("streamspace %s: status %d\n%s%s", strings.Join(args, " "), status, out, errors)
	}
	return out
}

var (
	// An age is padded to the width of its heading.
	ages  = regexp.MustCompile(`\b\d+[smhd]\b( {2,})?`)
	dates = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{3})?`)
)

// golden compares output, ages and dates apart.
func golden(t *testing.T, got, want string) {
	t.Helper()
	got = dates.ReplaceAllString(ages.ReplaceAllStringFunc(got, func(age string) string {
		if strings.HasSuffix(age, " ") {
			return "AGE  "
		}
		return "AGE"
	}), "DATE")
	if got = trimLines(got); got != trimLines(want) {
		t.Errorf("the output is\n%s\nand should be\n%s", got, trimLines(want))
	}
}

func trimLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " \t")
	}
	return strings.Join(lines, "\n")
}

func TestSessionsFromTheCommandLine(t *testing.T) {
	env := serve(t)
	golden(t, must(t, env, "session", "list"), "There are no sessions. Launch one with: streamspace session launch TEMPLATE")
	golden(t, must(t, env, "agents", "list"), "There are no agents. Make a key for one with: streamspace agents key ID")

	key := strings.TrimSpace(must(t, env, "agents", "key", "edge"))
	connectAgent(t, env["STREAMSPACE_SERVER"], "edge", key)
	golden(t, must(t, env, "agents", "list"), `
ID    STATUS  PLATFORM  REGION  SESSIONS  HEARD FROM
edge  online  process   eu-1    0 of 4    AGE ago`)

	golden(t, must(t, env, "session", "launch", "desktop", "--id", "one", "--name", "First", "--wait"), "one")
	golden(t, must(t, env, "session", "launch", "desktop", "--id", "one", "--name", "First"), "one")
	golden(t, must(t, env, "session", "list"), `
ID   NAME   TEMPLATE  STATE    AGENT  USER   AGE  REASON
one  First  desktop   running  edge   admin  AGE  -`)
	golden(t, must(t, env, "session", "show", "one"), `
Session:   one
Name:      First
Template:  desktop
User:      admin
State:     running
Agent:     edge
Platform:  process
Region:    eu-1
Limits:    2 cpu, 2Gi memory
Launched:  DATE

WHEN                     FROM     TO       BY          REASON
DATE  -        pending  user:admin  -
DATE  pending  running  agent:edge  -`)
	golden(t, must(t, env, "agents", "show", "edge"), `
Agent:        edge
Status:       online
Platform:     process
Version:      v0.9
Region:       eu-1
Sessions:     1 of 4
Connections:  1 so far
Heard from:   AGE ago
Registered:   DATE`)

	link := must(t, env, "session", "open", "one")
	if !regexp.MustCompile(`^http://127\.0\.0\.1:\d+/login\?next=%2Fsessions%2Fone&token=ssl_\S+\n$`).MatchString(link) {
		t.Errorf("the link is %q", link)
	}

	golden(t, must(t, env, "session", "stop", "one", "--wait"), "one terminated")
	golden(t, must(t, env, "session", "list"), "There are no sessions. Launch one with: streamspace session launch TEMPLATE")
	golden(t, must(t, env, "session", "list", "--all"), `
ID   NAME   TEMPLATE  STATE       AGENT  USER   AGE  REASON
one  First  desktop   terminated  edge   admin  AGE  -`)
}

func TestHibernationFromTheCommandLine(t *testing.T) {
	env := serve(t, "apiVersion: streamspace.io/v1\nkind: Template\nmetadata: {name: homely}\n"+
		"spec: {displayName: Homely, protocol: terminal, platforms: [process], persistentHome: true, process: {command: [sh]}}\n")
	connectAgent(t, env["STREAMSPACE_SERVER"], "edge", strings.TrimSpace(must(t, env, "agents", "key", "edge")))
	must(t, env, "session", "launch", "homely", "--id", "one", "--wait")
	golden(t, must(t, env, "session", "hibernate", "one", "--wait"), "one hibernated")
	golden(t, must(t, env, "session", "wake", "one", "--wait"), "one running")
	must(t, env, "session", "launch", "terminal", "--id", "two", "--wait")
	status, out, errors := run(t, env, "session", "hibernate", "two", "one", "--wait")
	if status != 1 || out != "one hibernated\n" || !strings.Contains(errors, `session "two" keeps no home`) {
		t.Errorf("status %d, %q, %q", status, out, errors)
	}
	must(t, env, "agents", "cordon", "edge")
	status, _, errors = run(t, env, "session", "wake", "one")
	if status != 1 || !strings.Contains(errors, `agent "edge", which has the session's home, is cordoned; try again later, or wake the session elsewhere`) {
		t.Errorf("status %d, %q", status, errors)
	}
	status, _, errors = run(t, env, "session", "wake", "one", "--elsewhere")
	if status != 1 || !strings.Contains(errors, "no other agent can take the session now") {
		t.Errorf("status %d, %q", status, errors)
	}
}

func TestTimeLimitsFromTheCommandLine(t *testing.T) {
	env := serve(t, "apiVersion: streamspace.io/v1\nkind: Template\nmetadata: {name: brief}\n"+
		"spec: {displayName: Brief, protocol: terminal, platforms: [process], maxDuration: 8h, process: {command: [sh]}}\n")
	connectAgent(t, env["STREAMSPACE_SERVER"], "edge", strings.TrimSpace(must(t, env, "agents", "key", "edge")))
	must(t, env, "session", "launch", "brief", "--id", "one", "--idle-timeout", "30m", "--max-duration", "90m", "--wait")
	shown := must(t, env, "session", "show", "one")
	if !regexp.MustCompile(`\nTime limits: +30m unused, 1h30m running, then stop\n` +
		`Ends: +\S+ \S+, in (30m|29m5\ds) unless it is used; at the latest \S+ \S+, in (1h30m|1h29m5\ds)\n`).MatchString(shown) {
		t.Errorf("the session is shown as\n%s", shown)
	}
	if status, _, errors := run(t, env, "session", "launch", "brief", "--max-duration", "9h"); status != 1 ||
		!strings.Contains(errors, "maxDuration is 9h, and the template allows no more than 8h; ask for less, or leave it out") {
		t.Errorf("status %d, %q", status, errors)
	}
	if status, _, errors := run(t, env, "session", "launch", "brief", "--idle-timeout", "10s"); status != 1 || !strings.Contains(errors, `idleTimeout is "10s"`) {
		t.Errorf("status %d, %q", status, errors)
	}
}

func TestALaunchThatFails(t *testing.T) {
	env := serve(t)
	connectAgent(t, env["STREAMSPACE_SERVER"], "edge", strings.TrimSpace(must(t, env, "agents", "key", "edge")))
	status, out, errors := run(t, env, "session", "launch", "terminal", "--id", "broken", "--wait")
	if status != 1 || out != "broken\n" || !strings.Contains(errors, "session broken is failed: the disk is full") {
		t.Errorf("status %d, %q, %q", status, out, errors)
	}
	status, _, errors = run(t, env, "session", "open", "broken")
	if status != 1 || !strings.Contains(errors, "the disk is full") {
		t.Errorf("opening it: status %d, %q", status, errors)
	}
}

func TestCommandsFromTheCommandLine(t *testing.T) {
	env := serve(t)
	if out := must(t, env, "commands", "list"); !strings.Contains(out, "no such commands") {
		t.Errorf("without commands it says %q", out)
	}
	connectAgent(t, env["STREAMSPACE_SERVER"], "farm", strings.TrimSpace(must(t, env, "agents", "key", "farm")))
	must(t, env, "session", "launch", "terminal", "--id", "fine", "--wait")
	must(t, env, "session", "stop", "fine", "--wait")
	list := must(t, env, "commands", "list", "--session", "fine", "--status", "completed")
	lines := strings.Split(strings.TrimSpace(list), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "ID ") || !strings.Contains(lines[1], "stop_session") ||
		!strings.Contains(lines[2], "start_session") || !strings.Contains(lines[2], "farm") {
		t.Fatalf("the list is\n%s", list)
	}
	if out := must(t, env, "commands", "list", "--agent", "nobody"); !strings.Contains(out, "no such commands") {
		t.Errorf("of another agent it lists %q", out)
	}
	id, _, _ := strings.Cut(lines[2], " ")
	shown := must(t, env, "commands", "show", id)
	for _, want := range []string{id, "start_session", "completed", "Times sent:", "Sent:", "Ended:", "fine"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not shown:\n%s", want, shown)
		}
	}
	if status, _, said := run(t, env, "commands", "show", "nothing"); status != 1 || !strings.Contains(said, "no command") {
		t.Errorf("an unknown command: status %d, %q", status, said)
	}
}

func TestTheReconcilerFromTheCommandLine(t *testing.T) {
	env := serve(t)
	out := must(t, env, "reconciler")
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(out, "(the one that answers)"); out = must(t, env, "reconciler") {
		if time.Now().After(deadline) {
			t.Fatalf("nobody reconciles:\n%s", out)
		}
	}
	for _, want := range []string{"Replica:", "Epoch:", "Stuck:", "Held back:", "nothing", "Lease until:"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not shown:\n%s", want, out)
		}
	}
	if out := must(t, env, "reconciler", "--output", "json"); !strings.Contains(out, `"here": true`) {
		t.Errorf("for programs it is %s", out)
	}
}

func TestOutputForPrograms(t *testing.T) {
	env := serve(t)
	env["STREAMSPACE_OUTPUT"] = "json"
	connectAgent(t, env["STREAMSPACE_SERVER"], "edge", keyOf(t, must(t, env, "agents", "key", "edge")))
	for _, args := range [][]string{
		{"session", "list"}, {"agents", "list"}, {"templates", "list"},
	} {
		var list []map[string]any
		if err := json.Unmarshal([]byte(must(t, env, args...)), &list); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	for _, args := range [][]string{
		{"session", "launch", "terminal", "--id", "one", "--wait"}, {"session", "show", "one"}, {"session", "open", "one"},
		{"agents", "show", "edge"}, {"version"},
	} {
		var object map[string]any
		if err := json.Unmarshal([]byte(must(t, env, args...)), &object); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func keyOf(t *testing.T, output string) string {
	t.Helper()
	var key struct{ Key string }
	if err := json.Unmarshal([]byte(output), &key); err != nil {
		t.Fatal(err)
	}
	return key.Key
}

func TestErrorsSayWhatToDo(t *testing.T) {
	env := serve(t)
	without := func(name string) map[string]string {
		changed := map[string]string{}
		for key, value := range env {
			if key != name {
				changed[key] = value
			}
		}
		return changed
	}
	with := func(name, value string) map[string]string {
		changed := without(name)
		changed[name] = value
		return changed
	}
	for name, test := range map[string]struct {
		env    map[string]string
		args   []string
		status int
		says   []string
	}{
		"unknown command":   {env, []string{"sesion"}, 2, []string{`"streamspace sesion"`, `"streamspace session"`, "--help"}},
		"unknown flag":      {env, []string{"session", "list", "--al"}, 2, []string{"--al", "streamspace session list --help"}},
		"missing argument":  {env, []string{"session", "launch"}, 2, []string{"template", "templates list"}},
		"argument too many": {env, []string{"session", "show", "a", "b"}, 2, []string{"session id"}},
		"wrong output":      {env, []string{"session", "list", "-o", "xml"}, 2, []string{"--output", "json"}},
		"wrong server":      {env, []string{"session", "list", "--server", "localhost"}, 2, []string{"--server", "http://127.0.0.1:8080"}},
		"no server": {with("STREAMSPACE_SERVER", "http://"+unused(t)), []string{"session", "list"}, 1,
			[]string{"does not answer", "streamspace up", "--server", "STREAMSPACE_SERVER"}},
		"no token": {with("STREAMSPACE_DATA_DIR", "/nowhere"), []string{"session", "list"}, 1,
			[]string{"/nowhere/admin.token", "STREAMSPACE_TOKEN", "--data-dir", "--token-file"}},
		"wrong token": {with("STREAMSPACE_TOKEN", "nonsense"), []string{"session", "list"}, 1,
			[]string{"token is not valid", "from STREAMSPACE_TOKEN"}},
		"unknown session":  {env, []string{"session", "show", "none"}, 1, []string{`no session "none"`}},
		"unknown agent":    {env, []string{"agents", "show", "none"}, 1, []string{"none"}},
		"unknown template": {env, []string{"session", "launch", "none"}, 1, []string{`"none"`, "streamspace templates list"}},
		"no agent":         {env, []string{"session", "launch", "terminal"}, 1, []string{"no agent"}},
		"no agent key":     {env, []string{"agent", "--id", "edge"}, 2, []string{"streamspace agents key edge", "--key-file", "STREAMSPACE_AGENT_KEY"}},
		"two mistakes": {env, []string{"up", "--workers", "0", "--log-level", "loud"}, 2,
			[]string{"--workers must be", "--log-level must be"}},
		"wrong variable": {with("STREAMSPACE_WORKERS", "many"), []string{"server"}, 2, []string{"STREAMSPACE_WORKERS"}},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, errors := run(t, test.env, test.args...)
			if status != test.status {
				t.Errorf("the status is %d, not %d", status, test.status)
			}
			if !strings.HasPrefix(errors, "Error: ") {
				t.Errorf("the error does not begin as one: %q", errors)
			}
			for _, text := range test.says {
				if !strings.Contains(errors, text) {
					t.Errorf("the error does not say %q:\n%s", text, errors)
				}
			}
		})
	}
}

// unused is an address where nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func TestProgramsGetTheirConfiguration(t *testing.T) {
	env := map[string]string{"STREAMSPACE_DATA_DIR": "/data", "STREAMSPACE_AGENT_KEY": "secret", "STREAMSPACE_AGENT_ID": "edge"}
	for program, want := range map[string][]string{
		"up --listen :1":             {`"DataDir":"/data"`, `"Listen":":1"`, `"Level":"warn"`},
		"server --database sqlite:x": {`"DataDir":"/data"`, `"Database":"sqlite:x"`, `"Level":"info"`},
		"agent --max-sessions 3":     {`"ID":"edge"`, `"Key":"secret"`, `"MaxSessions":3`},
		"migrate":                    {`"DataDir":"/data"`},
	} {
		got := must(t, env, strings.Fields(program)...)
		for _, text := range want {
			if !strings.Contains(got, text) {
				t.Errorf("%s: the configuration lacks %s: %s", program, text, got)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	golden(t, must(t, nil, "version"), "streamspace v1.2.3 (abcdef, 2026-01-02, go1.99, linux/amd64)")
}

func TestCompletion(t *testing.T) {
	env := serve(t)
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := must(t, env, "completion", shell); len(out) < 500 {
			t.Errorf("the completion of %s is %q", shell, out)
		}
	}
	if out := must(t, env, "__complete", "session", "launch", ""); !strings.Contains(out, "terminal\t") {
		t.Errorf("templates are not completed: %q", out)
	}
	// Nobody wants an error in the middle of the command line.
	env["STREAMSPACE_SERVER"] = "http://" + unused(t)
	if status, out, _ := run(t, env, "__complete", "session", "show", ""); status != 0 || !strings.HasPrefix(out, ":4") {
		t.Errorf("completion without a server: status %d, %q", status, out)
	}
}
