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

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// server is the one private PostgreSQL of a test process. Being one for all
// tests of a package is worth this package's only variable: initdb takes
// seconds, a database on a running server milliseconds.
var server = sync.OnceValues(start)

// PostgresURL gives the url of a new, empty database.
func PostgresURL(t testing.TB) string {
	t.Helper()
	directory, err := server()
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") == "" {
		t.Skip("SKIPPED: PostgreSQL is not installed (apt-get install postgresql); nothing was tested on it")
	}
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	name := "test_" + strings.ToLower(rand.Text()[:12])
	admin, err := sql.Open("pgx", url(directory, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		admin, err := sql.Open("pgx", url(directory, "postgres"))
		if err != nil {
			t.Error(err)
			return
		}
		defer admin.Close()
		if _, err := admin.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return url(directory, name)
}

func url(directory, database string) string {
	return fmt.Sprintf("postgres:///%s?host=%s&user=postgres", database, directory)
}

// start makes a cluster in a temporary folder and starts it on a unix socket
// there, as user postgres when this process is root, which PostgreSQL refuses.
// The shell between us and the server stops it when this process ends, however
// it ends: the pipe that it reads from is closed then.
func start() (directory string, err error) {
	initdb, err := find("initdb")
	if err != nil {
		return "", err
	}
	if directory, err = os.MkdirTemp("", "pg"); err != nil {
		return "", err
	}
	var credential *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		if credential, err = asPostgres(directory); err != nil {
			return "", err
		}
	}
	watch, hold, err := os.Pipe()
	if err != nil {
		return "", err
	}
	// hold is deliberately kept open for the life of the process.
	syscall.CloseOnExec(int(hold.Fd()))
	script := `
set -e
"$1/initdb" -D "$2/data" -U postgres -A trust --no-sync --locale=C -E UTF8 >"$2/log" 2>&1
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c max_connections=200 -c shared_buffers=32MB >>"$2/log" 2>&1 &
server=$!
read -r _ || true
kill -QUIT $server 2>/dev/null || true
wait $server || true
rm -rf "$2"
`
	command := exec.Command("sh", "-c", script, "sh", filepath.Dir(initdb), directory)
	command.Dir = directory
	command.Stdin = watch
	command.SysProcAttr = credential
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Setsid = true // an interrupt of the tests leaves the stopping to the shell
	if err := command.Start(); err != nil {
		return "", err
	}
	if err := watch.Close(); err != nil {
		return "", err
	}
	keep(hold)
	return directory, ready(directory)
}

// keep makes the pipe's end live as long as the process.
func keep(end *os.File) {
	go func() {
		block := make(chan struct{})
		<-block
		_ = end.Close()
	}()
}

func asPostgres(directory string) (*syscall.SysProcAttr, error) {
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
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
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
func ready(directory string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	handle, err := sql.Open("pgx", url(directory, "postgres"))
	if err != nil {
		return err
	}
	defer handle.Close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err = handle.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(directory, "log"))
			return fmt.Errorf("the server does not answer: %w\n%s", err, log)
		}
	}
}
