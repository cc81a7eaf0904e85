package server_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/agent/driver/process"
	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/internal/server"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// TestMain makes the test binary a supervisor of its agents' sessions, as the
// program's main function does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == process.SuperviseCommand {
		syscall.Exit(process.Supervise(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

func configuration(t *testing.T) config.Server {
	t.Helper()
	c := config.NewServer()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	c.Listen = "127.0.0.1:0"
	return c
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// begin starts a server, which stops with the test at the latest.
func begin(t *testing.T, c config.Server) *server.Server {
	t.Helper()
	running, err := server.New(t.Context(), c, "test", discard())
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
	return running
}

func token(t *testing.T, dataDir string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dataDir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(content))
}

// api is a client whose idle connections do not outlive the test.
func api(t *testing.T, address, secret string) *client.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return client.New(address, secret, client.Options{HTTP: &http.Client{Transport: transport}})
}

func TestFirstRunMakesWhatItNeeds(t *testing.T) {
	c := configuration(t)
	running := begin(t, c)
	for name, want := range map[string]os.FileMode{
		"":               os.ModeDir | 0o700,
		"admin.token":    0o600,
		"streamspace.db": 0o600,
		"templates":      os.ModeDir | 0o700,
	} {
		info, err := os.Stat(filepath.Join(c.DataDir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	caller := api(t, running.URL().String(), token(t, c.DataDir))
	me, err := caller.Me(t.Context())
	if err != nil || me.Name != "admin" || me.Role != models.RoleAdmin {
		t.Errorf("the token stands for %+v, %v", me, err)
	}
	templates, err := caller.Templates(t.Context(), client.Page{})
	if err != nil || len(templates.Items) < 3 {
		t.Errorf("the templates are %+v, %v", templates, err)
	}
}

func TestRestartKeepsTheToken(t *testing.T) {
	c := configuration(t)
	first := begin(t, c)
	before := token(t, c.DataDir)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	second := begin(t, c)
	if after := token(t, c.DataDir); after != before {
		t.Error("the token has changed")
	}
	if _, err := api(t, second.URL().String(), before).Me(t.Context()); err != nil {
		t.Errorf("the token no longer works: %v", err)
	}
}

// The database may be lost, or replaced; who has the token keeps access.
func TestANewDatabaseLearnsTheToken(t *testing.T) {
	c := configuration(t)
	if err := begin(t, c).Stop(); err != nil {
		t.Fatal(err)
	}
	c.Database = filepath.Join(c.DataDir, "another.db")
	running := begin(t, c)
	if _, err := api(t, running.URL().String(), token(t, c.DataDir)).Me(t.Context()); err != nil {
		t.Errorf("the token no longer works: %v", err)
	}
}

func TestASpoiltTokenFileIsNotGuessedAt(t *testing.T) {
	c := configuration(t)
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.DataDir, "admin.token")
	if err := os.WriteFile(path, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := server.New(t.Context(), c, "test", discard())
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("the error must name the file and what to do: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	begin(t, c) // and following the advice must help
}

func TestADirectoryIsForOneServer(t *testing.T) {
	c := configuration(t)
	running := begin(t, c)
	_, err := server.New(t.Context(), c, "test", discard())
	if err == nil || !strings.Contains(err.Error(), c.DataDir) || !strings.Contains(err.Error(), "--data-dir") {
		t.Fatalf("the error must name the directory and the flag: %v", err)
	}
	if err := running.Stop(); err != nil {
		t.Fatal(err)
	}
	begin(t, c)
}

func TestABusyPort(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	c := configuration(t)
	c.Listen = other.Addr().String()
	err = server.Run(t.Context(), c, "test", server.Streams{Out: io.Discard, Err: io.Discard})
	if err == nil || !strings.Contains(err.Error(), c.Listen+" is in use") || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("the error must name the address and the flag: %v", err)
	}
	// What was begun before is given back.
	c.Listen = "127.0.0.1:0"
	begin(t, c)
}

func TestNoSuchDatabase(t *testing.T) {
	c := configuration(t)
	c.Database = "postgres://nobody@127.0.0.1:1/none?connect_timeout=2"
	_, err := server.New(t.Context(), c, "test", discard())
	if err == nil || !strings.Contains(err.Error(), "--database") {
		t.Errorf("the error must name the flag: %v", err)
	}
}

func TestWrongWeightsAreRefused(t *testing.T) {
	for said, want := range map[string]string{"home": "the weight of home is \"much\", which is not a number", "hoem": "there is no weight \"hoem\""} {
		c := configuration(t)
		c.PlacementWeights = map[string]string{said: "much"}
		if _, err := server.New(t.Context(), c, "test", discard()); err == nil || !strings.Contains(err.Error(), "--placement-weights: "+want) {
			t.Errorf("%s: %v", said, err)
		}
	}
}

func TestOwnTemplates(t *testing.T) {
	c := configuration(t)
	if err := os.MkdirAll(c.TemplatesDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"editor.yaml": "apiVersion: streamspace.io/v1\nkind: Template\nmetadata: {name: editor}\n" +
			"spec:\n  displayName: Editor\n  protocol: terminal\n  platforms: [process]\n" +
			"  defaultResources: {cpu: 500m, memory: 256Mi}\n  process: {command: [vi]}\n",
		"wrong.yaml": "kind: [",
	} {
		if err := os.WriteFile(filepath.Join(c.TemplatesDir(), name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log program.Buffer
	running, err := server.New(t.Context(), c, "test", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatalf("one wrong file must not keep the server from starting: %v", err)
	}
	defer func() { _ = running.Stop() }()
	if err := running.Start(); err != nil {
		t.Fatal(err)
	}
	caller := api(t, running.URL().String(), token(t, c.DataDir))
	if editor, err := caller.Template(t.Context(), "editor"); err != nil || editor.DisplayName != "Editor" {
		t.Errorf("the user's template is %+v, %v; the log:\n%s", editor, err, log.String())
	}
	if !strings.Contains(log.String(), "wrong.yaml") {
		t.Errorf("the log does not name the wrong file:\n%s", log.String())
	}
}

// Stopping ends what would last for ever otherwise, and waits for it.
func TestStopEndsEventStreams(t *testing.T) {
	c := configuration(t)
	running := begin(t, c)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, running.URL().String()+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token(t, c.DataDir))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	events := bufio.NewReader(response.Body)
	if line, err := events.ReadString('\n'); err != nil || line != "event: snapshot\n" {
		t.Fatalf("the stream begins with %q, %v", line, err)
	}
	begun := time.Now()
	if err := running.Stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("stopping waited %v for a stream that has no end", took)
	}
	if _, err := io.Copy(io.Discard, events); err != nil {
		t.Errorf("the stream did not end in order: %v", err)
	}
}

func TestRunStopsWithItsContext(t *testing.T) {
	c := configuration(t)
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- server.Run(ctx, c, "test", server.Streams{Out: in, Err: io.Discard})
		_ = in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, "http://127.0.0.1:") || !strings.Contains(line, c.AdminTokenFile()) {
		t.Errorf("it says %q, %v", line, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("an end that was asked for is no error: %v", err)
	}
}

func TestListeningElsewhereWarns(t *testing.T) {
	for _, test := range []struct {
		listen, public string
		warns          bool
	}{
		{"127.0.0.1:0", "", false},
		{"[::1]:0", "", false},
		{"0.0.0.0:0", "", true},
		{"0.0.0.0:0", "http://streamspace.example.org", true},
		{"0.0.0.0:0", "https://streamspace.example.org", false},
	} {
		t.Run(test.listen+" "+test.public, func(t *testing.T) {
			c := configuration(t)
			c.Listen, c.PublicURL = test.listen, test.public
			ctx, cancel := context.WithCancel(t.Context())
			out, in := io.Pipe()
			var said strings.Builder
			c.Log.Level = "error"
			ended := make(chan error, 1)
			go func() { ended <- server.Run(ctx, c, "test", server.Streams{Out: in, Err: &said}); _ = in.Close() }()
			if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Fatal(err, <-ended)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if warned := strings.Contains(said.String(), "Warning:"); warned != test.warns {
				t.Errorf("warned: %v, want %v: %q", warned, test.warns, said.String())
			}
		})
	}
}

func TestMigrate(t *testing.T) {
	c := config.NewMigrate()
	c.DataDir = filepath.Join(t.TempDir(), "data")
	var out strings.Builder
	for range 2 { // the second time there is nothing to do
		if err := server.Migrate(t.Context(), c, server.Streams{Out: &out, Err: io.Discard}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, "streamspace.db")); err != nil {
		t.Error(err)
	}
}
