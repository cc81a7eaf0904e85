package harness_test

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/bench/report"
)

func options() harness.Options {
	return harness.Options{Program: "/bin/true", Report: report.New(io.Discard)}
}

// However a benchmark ends, nothing of it is left.
func TestRunLeavesNothing(t *testing.T) {
	broken := errors.New("broken")
	for _, outcome := range []error{nil, broken} {
		var dir string
		var process *processes.Process
		err := harness.Run(t.Context(), options(), func(ctx context.Context, b *harness.Bench) (err error) {
			dir = b.Dir
			// The second program leaves the group, as sessions do.
			process, err = b.Processes.Start(processes.Command{Path: "sh", Dir: dir,
				Arguments: []string{"-c", "setsid sleep 60 & echo ready; exec sleep 60"}})
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			if _, err := process.Line(ctx, "ready"); err != nil {
				return err
			}
			return outcome
		})
		if !errors.Is(err, outcome) {
			t.Fatalf("the error is %v, want %v", err, outcome)
		}
		select {
		case <-process.Exited():
		default:
			t.Error("the process still runs")
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("the directory is left: %v", err)
		}
	}
}

func TestNeed(t *testing.T) {
	if path, err := harness.Need("sh", "no need"); err != nil || !strings.HasSuffix(path, "/sh") {
		t.Errorf("sh is %q, %v", path, err)
	}
	var missing *harness.MissingError
	if _, err := harness.Need("no-such-program", "apt-get install it"); !errors.As(err, &missing) ||
		!strings.Contains(err.Error(), "apt-get install it") {
		t.Errorf("the error is %v", err)
	}
}

func TestPairs(t *testing.T) {
	var order []string
	measure := func(name string) func(context.Context) (int, error) {
		return func(context.Context) (int, error) {
			order = append(order, name)
			return len(order), nil
		}
	}
	our, their, err := harness.Pairs(t.Context(), 3, measure("ours"), measure("theirs"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"ours", "theirs", "theirs", "ours", "ours", "theirs"}; !slices.Equal(order, want) {
		t.Errorf("the order is %v", order)
	}
	if !slices.Equal(our, []int{1, 4, 5}) || !slices.Equal(their, []int{2, 3, 6}) {
		t.Errorf("the measurements are %v and %v", our, their)
	}
}

func TestPairsEndWithAnError(t *testing.T) {
	broken := errors.New("broken")
	calls := 0
	fine := func(context.Context) (int, error) { calls++; return 0, nil }
	_, _, err := harness.Pairs(t.Context(), 3, fine, func(context.Context) (int, error) { return 0, broken })
	if !errors.Is(err, broken) || calls != 1 {
		t.Errorf("after %d calls the error is %v", calls, err)
	}
}
