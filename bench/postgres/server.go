// Package postgres runs a private PostgreSQL for a benchmark, as durable as a
// production server: every commit waits for the disk.
package postgres

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/processes"
)

// startWithin bounds the start of the server.
const startWithin = 30 * time.Second

// tick is the unit of processor times in /proc: USER_HZ is 100.
const tick = 10 * time.Millisecond

// Server is a running PostgreSQL that listens on a unix socket alone. The
// benchmark's owner of processes ends it.
type Server struct {
	dir     string
	process *processes.Process
}

// Start makes a cluster below dir and runs it. It runs as user postgres when
// this process is root, as PostgreSQL refuses to be.
func Start(ctx context.Context, b *harness.Bench) (*Server, error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.Dir, "pg")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make PostgreSQL's directory: %w", err)
	}
	var as []string
	if os.Getuid() == 0 {
		if err := os.Chmod(b.Dir, 0o711); err != nil {
			return nil, fmt.Errorf("let PostgreSQL pass: %w", err)
		}
		if out, err := exec.CommandContext(ctx, "chown", "postgres:postgres", dir).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("give PostgreSQL its directory: %w: %s", err, out)
		}
		as = []string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"}
	}
	data := filepath.Join(dir, "data")
	initdb := append(slices.Clone(as), filepath.Join(bin, "initdb"), "-D", data, "-U", "bench", "--auth=trust", "-E", "UTF8", "--locale=C")
	command := exec.CommandContext(ctx, initdb[0], initdb[1:]...)
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	run := append(slices.Clone(as), filepath.Join(bin, "postgres"), "-D", data, "-k", dir,
		"-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB",
		"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on", "-c", "autovacuum_naptime=5s")
	process, err := b.Processes.Start(processes.Command{Path: run[0], Arguments: run[1:], Dir: dir})
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, process: process}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		if exec.CommandContext(ctx, filepath.Join(bin, "pg_isready"), "-q", "-h", dir, "-U", "bench").Run() == nil {
			return s, nil
		}
		select {
		case <-process.Exited():
			return nil, fmt.Errorf("PostgreSQL ended: %s", process.Log())
		case <-ctx.Done():
			return nil, fmt.Errorf("PostgreSQL is not ready: %w: %s", ctx.Err(), process.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// find gives the directory of the server's programs.
func find() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is well-formed
	if len(found) == 0 {
		return "", &harness.MissingError{What: "PostgreSQL", Install: "apt-get install postgresql"}
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1]), nil
}

// Create makes a database and gives its URL.
func (s *Server) Create(ctx context.Context, name string) (string, error) {
	bin, err := find()
	if err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, filepath.Join(bin, "createdb"), "-h", s.dir, "-U", "bench", name).CombinedOutput(); err != nil {
		return "", fmt.Errorf("create database %s: %w: %s", name, err, out)
	}
	return fmt.Sprintf("postgres://bench@/%s?host=%s", name, s.dir), nil
}

// CPU is the processor time that the server and its backends have taken so far.
// Backends have process groups of their own, so they are found by their parent.
func (s *Server) CPU() (time.Duration, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, fmt.Errorf("processor time of PostgreSQL: %w", err)
	}
	var total time.Duration
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
		fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:]) // proc_pid_stat(5)
		parent, err := strconv.Atoi(string(fields[1]))
		if err != nil || pid != s.process.PID() && parent != s.process.PID() {
			continue
		}
		for _, field := range fields[11:15] {
			ticks, err := strconv.ParseInt(string(field), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("processor time of PostgreSQL: %w", err)
			}
			total += time.Duration(ticks) * tick
		}
	}
	return total, nil
}
