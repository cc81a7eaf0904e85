package dbtest

import (
	"context"
	"crypto/rand"
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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
)

// cluster is a running PostgreSQL server.
type cluster struct {
	// directory holds its data, its log and its socket.
	directory string
	// alive ends the server when it is closed, and so when this process ends.
	alive *os.File
}

// server is the one private PostgreSQL of a test process. Being one for all
// tests of a package is worth this package's only variable: initdb takes
// seconds, a database on a running server milliseconds.
var server = sync.OnceValues(start)

// migrated is a database with the schema and nothing in it, to copy.
const migrated = "migrated"

// PostgresURL gives the url of a new, empty database.
func PostgresURL(t testing.TB) string {
	t.Helper()
	return create(t, "template1")
}

// create makes a database like an existing one and gives its url.
func create(t testing.TB, like string) string {
	t.Helper()
	running, err := server()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		t.Skip("SKIPPED: PostgreSQL is not installed (apt-get install postgresql); nothing was tested on it")
	}
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	name := "test_" + strings.ToLower(rand.Text()[:12])
	if err := running.administer("CREATE DATABASE " + name + " TEMPLATE " + like); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.administer("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return running.url(name)
}

func (c *cluster) administer(statement string) error {
	admin, err := sql.Open("pgx", c.url("postgres"))
	if err != nil {
		return err
	}
	_, err = admin.Exec(statement)
	return errors.Join(err, admin.Close())
}

func (c *cluster) url(database string) string {
	return fmt.Sprintf("postgres:///%s?host=%s&user=postgres", database, c.directory)
}

// start makes a cluster in a temporary folder and starts it on a unix socket
// there, as user postgres when this process is root, which PostgreSQL refuses.
// The shell between us and the server stops it when this process ends, however
// it ends: the pipe that it reads from is closed then. Nothing is synced to
// disk, since no test takes the power away.
func start() (*cluster, error) {
	initdb, err := find("initdb")
	if err != nil {
		return nil, err
	}
	directory, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	attributes := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		if attributes.Credential, err = asPostgres(directory); err != nil {
			return nil, err
		}
	}
	attributes.Setsid = true // an interrupt of the tests leaves the stopping to the shell
	watch, alive, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	script := `
set -e
"$1/initdb" -D "$2/data" -U postgres -A trust --no-sync --locale=C -E UTF8 >"$2/log" 2>&1
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c max_connections=400 -c shared_buffers=32MB \
	-c fsync=off -c synchronous_commit=off -c full_page_writes=off >>"$2/log" 2>&1 &
server=$!
read -r _ || true
kill -QUIT $server 2>/dev/null || true
wait $server || true
rm -rf "$2"
`
	command := exec.Command("sh", "-c", script, "sh", filepath.Dir(initdb), directory)
	command.Dir = directory
	command.Stdin = watch
	command.SysProcAttr = attributes
	if err := command.Start(); err != nil {
		return nil, err
	}
	if err := watch.Close(); err != nil {
		return nil, err
	}
	started := &cluster{directory: directory, alive: alive}
	if err := started.ready(); err != nil {
		return nil, errors.Join(err, alive.Close())
	}
	return started, started.migrate()
}

// migrate makes the database that tests copy.
func (c *cluster) migrate() error {
	if err := c.administer("CREATE DATABASE " + migrated); err != nil {
		return err
	}
	database, err := db.Open(context.Background(), c.url(migrated), db.Options{})
	if err != nil {
		return err
	}
	return errors.Join(database.Migrate(context.Background()), database.Close())
}

// asPostgres gives the directory to the user postgres, and is that user.
func asPostgres(directory string) (*syscall.Credential, error) {
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root: %w", err)
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(directory, uid, gid); err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// find looks in Debian's folders first, newest version first: a wrapper in the
// PATH may not allow what these tests do.
func find(program string) (string, error) {
	paths, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if err != nil {
		return "", err
	}
	if len(paths) > 0 {
		slices.Sort(paths)
		return paths[len(paths)-1], nil
	}
	return exec.LookPath(program)
}

// ready waits until the server answers.
func (c *cluster) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	handle, err := sql.Open("pgx", c.url("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = handle.Close() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = handle.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(c.directory, "log"))
			return fmt.Errorf("the server does not answer: %w\n%s", err, log)
		}
	}
}
