package sim_test

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/sim"
)

var (
	seeds   = flag.Int("seeds", 40, "how many seeds TestSeeds runs")
	first   = flag.Uint64("first", 1, "the first of them")
	one     = flag.Uint64("seed", 0, "run this seed alone")
	keep    = flag.Bool("keep-going", false, "show every violation, not only those of the first seed that has one")
	stopAt  = flag.String("stop-at", "", "end at the first seed with a violation of one of these invariants, with commas between")
	verbose = flag.Bool("log", false, "show what the product logs")
)

// scratch is a directory in memory where there is one: nothing in it has to
// survive, and a world syncs nothing.
func scratch(t *testing.T) string {
	t.Helper()
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "streamspace-sim-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// runSeed runs one world in a directory of its own.
func runSeed(t *testing.T, schema []byte, dir string, seed uint64, logger *slog.Logger) sim.Report {
	t.Helper()
	own := filepath.Join(dir, fmt.Sprint(seed))
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(own) }()
	return sim.Run(t, sim.Options{Plan: sim.NewPlan(seed), Schema: schema, Dir: own, Logger: logger})
}

func TestSeeds(t *testing.T) {
	dir := scratch(t)
	schema, err := sim.Prepare(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	from, count := *first, *seeds
	var logger *slog.Logger
	if *one > 0 {
		from, count = *one, 1
	}
	if *verbose {
		logger = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	began := time.Now()
	var mu sync.Mutex
	var total sim.Report
	found := false
	t.Run("seed", func(t *testing.T) {
		for seed := from; seed < from+uint64(count); seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				if *stopAt == "" {
					t.Parallel()
				} else if found {
					t.Skip("found")
				}
				report := runSeed(t, schema, dir, seed, logger)
				mu.Lock()
				defer mu.Unlock()
				if len(total.Violations) == 0 || *keep || *stopAt != "" {
					for _, violation := range report.Violations {
						found = found || slices.Contains(strings.Split(*stopAt, ","), violation.Invariant)
						t.Error(violation)
					}
				} else if len(report.Violations) > 0 {
					t.Fail()
				}
				total.Add(report)
			})
		}
	})
	if err := total.Print(os.Stdout, count, time.Since(began)); err != nil {
		t.Fatal(err)
	}
}
