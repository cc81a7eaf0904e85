// Package program runs the real binary for tests, kills it, and looks at what
// it leaves behind.
package program

import (
	"bufio"
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
)

// startWithin bounds the start of a program on a busy machine.
const startWithin = 60 * time.Second

// built is the binary, made once for all tests of a package.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "streamspace-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "streamspace")
	out, err := exec.Command("go", "build", "-o", path, "github.com/streamspace/streamspace/cmd/streamspace").CombinedOutput()
	if err != nil {
		return "", errors.New("go build: " + string(out))
	}
	return path, nil
})

// Main runs the tests of a package and removes the binary afterwards. Call it
// from TestMain.
func Main(m *testing.M) int {
	code := m.Run()
	if path, err := built(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	return code
}

// Binary gives the path of the binary.
func Binary(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Program is one running streamspace.
type Program struct {
	t       *testing.T
	command *exec.Cmd
	// lines delivers stdout line by line.
	lines  chan string
	exited chan struct{}
	// Log is what it wrote to stderr so far.
	Log *Buffer
}

// Start runs the binary. It is killed with the test, if it still runs then.
func Start(t *testing.T, env []string, args ...string) *Program {
	t.Helper()
	return StartBinary(t, Binary(t), env, args...)
}

// StartBinary is Start with another binary, such as one that was built for a
// test.
func StartBinary(t *testing.T, path string, env []string, args ...string) *Program {
	t.Helper()
	p := &Program{t: t, command: exec.Command(path, args...), lines: make(chan string, 1000),
		exited: make(chan struct{}), Log: &Buffer{}}
	p.command.Env = append(os.Environ(), env...)
	p.command.Stderr = p.Log
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		defer close(p.lines)
		scanner := bufio.NewScanner(stdout)
		for scanner.Scan() {
			p.lines <- scanner.Text()
		}
		_ = p.command.Wait() // the status is in ProcessState
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("streamspace %s\n%s", strings.Join(args, " "), p.Log)
		}
	})
	return p
}

// Line waits for the first line of stdout that holds text.
func (p *Program) Line(text string) string {
	p.t.Helper()
	timeout := time.After(startWithin)
	for {
		select {
		case line, open := <-p.lines:
			if !open {
				p.t.Fatalf("the program ended before it printed %q:\n%s", text, p.Log)
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-timeout:
			p.t.Fatalf("the program did not print %q within %v:\n%s", text, startWithin, p.Log)
		}
	}
}

// Exited is closed when the program has ended.
func (p *Program) Exited() <-chan struct{} { return p.exited }

// Signal sends the program a signal, such as one that pauses it.
func (p *Program) Signal(signal syscall.Signal) {
	p.t.Helper()
	if err := p.command.Process.Signal(signal); err != nil {
		p.t.Fatal(err)
	}
}

// Kill ends the program as a power cut would.
func (p *Program) Kill() {
	_ = p.command.Process.Kill() // it may have ended
	<-p.exited
}

// Stop ends the program as Ctrl-C does, and checks that it succeeds.
func (p *Program) Stop() {
	p.t.Helper()
	if err := p.command.Process.Signal(syscall.SIGINT); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		p.t.Fatal("the program did not stop within 30 s")
	}
	if status := p.command.ProcessState.ExitCode(); status != 0 {
		p.t.Errorf("the exit status is %d:\n%s", status, p.Log)
	}
}

// Up is a running `streamspace up`.
type Up struct {
	*Program
	DataDir string
	// Listen is the address that it serves on, to start it there again.
	Listen string
	Login  string
	URL    string
}

// StartUp runs `up` on dataDir. An empty listen takes a free port.
func StartUp(t *testing.T, dataDir, listen string, args ...string) *Up {
	t.Helper()
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	Reap(t, dataDir)
	p := Start(t, nil, append([]string{"up", "--data-dir", dataDir, "--listen", listen, "--log-level", "info", "--docker", "off"}, args...)...)
	login := p.Line("/login?token=")
	parsed, err := url.Parse(login)
	if err != nil {
		t.Fatalf("the last line is no URL: %q", login)
	}
	return &Up{Program: p, DataDir: dataDir, Listen: parsed.Host, Login: login, URL: "http://" + parsed.Host}
}

// API is a client with the admin's token.
func (u *Up) API() *client.Client { return Admin(u.t, u.URL, u.DataDir) }

// Admin is a client with the admin's token in dataDir.
func Admin(t *testing.T, address, dataDir string) *client.Client {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(dataDir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	return client.New(address, strings.TrimSpace(string(token)), client.Options{})
}

// Eventually waits until probe gives nil.
func Eventually(t *testing.T, what string, within time.Duration, probe func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := probe()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// Limit is a context for one step of a test.
func Limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Buffer collects what a program writes. Safe for concurrent use.
type Buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String gives everything so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
