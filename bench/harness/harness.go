// Package harness is what every benchmark is run with: a directory, the
// product's program, an owner for processes and a report.
package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/bench/report"
)

// product is the module of the program that is measured.
const product = "github.com/streamspace/streamspace"

// Bench is one run of one benchmark. Benchmarks use it from one goroutine.
type Bench struct {
	// Quick asks for a run that shows whether all works, in under 50 s, and
	// whose figures mean little.
	Quick bool
	// Dir is removed at the end, and whatever still uses it is killed.
	Dir string
	// Program is the product's binary.
	Program string
	// Processes ends, after the benchmark, what was started with it.
	Processes *processes.Owner
	// Report takes the results.
	Report *report.Report

	part string
	self string
}

// MissingError says that the machine lacks something that a benchmark needs.
type MissingError struct{ What, Install string }

// Error tells how to get it.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is missing; install it with: %s", e.What, e.Install)
}

// Options configure a run.
type Options struct {
	Quick bool
	// Part is the only part of the benchmark to measure; empty is all of it.
	Part string
	// Program is the product's binary; by default it is built.
	Program string
	// Report takes the results; needed.
	Report *report.Report
}

// Run runs one benchmark and ends everything that it started, however it ends.
func Run(ctx context.Context, options Options, benchmark func(context.Context, *Bench) error) (err error) {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	// Paths of unix sockets end at 107 bytes, so this one is short.
	dir, err := os.MkdirTemp("", "ssbench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	b := &Bench{Quick: options.Quick, Dir: dir, Program: options.Program, Processes: &processes.Owner{},
		Report: options.Report, part: options.Part, self: self}
	defer func() {
		err = errors.Join(err, b.Processes.Stop(), processes.Reap(dir), os.RemoveAll(dir))
	}()
	if b.Program == "" {
		if b.Program, err = build(ctx, dir); err != nil {
			return err
		}
	}
	return benchmark(ctx, b)
}

// build makes the product's binary from the checkout that this module is in.
func build(ctx context.Context, dir string) (string, error) {
	said, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", product).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("find the product's source, from inside its bench directory: %w\n%s", err, said)
	}
	path := filepath.Join(dir, "streamspace")
	said, err = exec.CommandContext(ctx, "go", "build", "-C", strings.TrimSpace(string(said)),
		"-o", path, "./cmd/streamspace").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the product: %w\n%s", err, said)
	}
	return path, nil
}

// Role is this program itself in one of its other roles.
func (b *Bench) Role(arguments ...string) processes.Command {
	return processes.Command{Path: b.self, Arguments: arguments}
}

// Wants tells whether a part of the benchmark is to be measured.
func (b *Bench) Wants(part string) bool { return b.part == "" || b.part == part }

// Of chooses between the figures of a full and of a quick run.
func (b *Bench) Of(full, quick int) int {
	if b.Quick {
		return quick
	}
	return full
}

// Need finds a program of the machine, or gives a *MissingError.
func Need(command, install string) (string, error) {
	path, err := exec.LookPath(command)
	if err != nil {
		return "", &MissingError{What: command, Install: install}
	}
	return path, nil
}
