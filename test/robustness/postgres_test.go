package robustness

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/streamspace/streamspace/test/program"
)

// cluster is a PostgreSQL server of one test, which keeps what it has
// committed through its own kill -9: fsync is on.
type cluster struct {
	t *testing.T
	// bin holds PostgreSQL's programs, dir its data and its socket.
	bin, dir   string
	account    *syscall.SysProcAttr
	postmaster *exec.Cmd
	exited     chan struct{}
}

// startPostgres makes a cluster and starts it.
func startPostgres(t *testing.T) *cluster {
	t.Helper()
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // Debian's place
	if err != nil || len(programs) == 0 {
		missing(t, "PostgreSQL is not installed (apt-get install postgresql)")
	}
	slices.Sort(programs)
	dir, err := os.MkdirTemp("", "robustness-pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sweep(t, dir))
	c := &cluster{t: t, bin: filepath.Dir(programs[len(programs)-1]), dir: dir, account: &syscall.SysProcAttr{}}
	if os.Geteuid() == 0 {
		c.account.Credential = asPostgres(t, dir) // it refuses to run as root
	}
	initdb := c.command("initdb", "-D", c.data(), "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	t.Cleanup(func() { c.end(syscall.SIGQUIT) }) // which also waits for its processes
	c.start()
	return c
}

// sweep ends the server in dir, whichever it then is, and removes dir: when it
// is called, or when this process ends, however that ends.
func sweep(t *testing.T, dir string) (now func()) {
	t.Helper()
	watch, alive, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	sweeper := exec.Command("sh", "-c", `read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
rm -rf "$1"`, "sh", dir)
	sweeper.Stdin = watch
	sweeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interrupt of the tests is not for it
	if err := errors.Join(sweeper.Start(), watch.Close()); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = alive.Close()
		_ = sweeper.Wait() // there may be nothing left to end
	}
}

func asPostgres(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	account, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, uidErr := strconv.Atoi(account.Uid)
	gid, gidErr := strconv.Atoi(account.Gid)
	if err := errors.Join(uidErr, gidErr, os.Chown(dir, uid, gid)); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *cluster) url() string {
	return fmt.Sprintf("postgres:///postgres?host=%s&user=postgres", c.dir)
}

func (c *cluster) command(name string, args ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(c.bin, name), args...)
	command.Dir = c.dir
	command.SysProcAttr = c.account
	return command
}

// start starts the server and waits until it answers. After a kill it refuses
// to for as long as one of its old processes lives.
func (c *cluster) start() {
	c.t.Helper()
	admin := c.open()
	defer func() { _ = admin.Close() }()
	log := &program.Buffer{}
	program.Eventually(c.t, "PostgreSQL answers", time.Minute, func() error {
		if c.postmaster == nil {
			c.run(log)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := admin.PingContext(ctx)
		select {
		case <-c.exited:
			c.postmaster = nil
			return fmt.Errorf("it has ended:\n%s", log)
		default:
			return err
		}
	})
}

func (c *cluster) run(log *program.Buffer) {
	c.t.Helper()
	c.postmaster = c.command("postgres", "-D", c.data(), "-k", c.dir, "-c", "listen_addresses=", "-c", "shared_buffers=32MB",
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on")
	c.postmaster.Stderr = log
	if err := c.postmaster.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.exited = make(chan struct{})
	go func() {
		defer close(c.exited)
		_ = c.postmaster.Wait() // that it ended is all that counts
	}()
}

// kill ends the server at once. Its other processes end by themselves.
func (c *cluster) kill() { c.end(syscall.SIGKILL) }

func (c *cluster) end(signal syscall.Signal) {
	if c.postmaster == nil {
		return
	}
	_ = c.postmaster.Process.Signal(signal) // it may have ended
	<-c.exited
	c.postmaster = nil
}

func (c *cluster) open() *sql.DB {
	c.t.Helper()
	handle, err := sql.Open("pgx", c.url())
	if err != nil {
		c.t.Fatal(err)
	}
	return handle
}

// database makes an empty database and gives its URL.
func (c *cluster) database(name string) string {
	c.t.Helper()
	admin := c.open()
	defer func() { _ = admin.Close() }()
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		c.t.Fatal(err)
	}
	return strings.Replace(c.url(), "/postgres?", "/"+name+"?", 1)
}

// missing skips a test that this machine cannot run, and fails it in CI, which
// is to have everything.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip("SKIPPED: " + what + "; nothing was tried")
}

// asRoot skips a test that needs to be root, and tools besides.
func asRoot(t *testing.T, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "this needs root")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool+" is not installed")
		}
	}
}
