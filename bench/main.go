// Command bench measures the product, beside a peer where there is one, and
// ends with lines
//
//	RESULT <metric> <value> <goal> pass|fail
//
// Its status is 0 when every goal is met, 1 when one is not or something broke,
// and 2 when a program that it needs is missing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/machine"
	"github.com/streamspace/streamspace/bench/report"
)

// The exit statuses.
const (
	statusPass    = 0
	statusFail    = 1
	statusMissing = 2
)

func main() { os.Exit(run(os.Args[1:])) }

func run(arguments []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// The second signal finds the system's own handling, which ends at once.
	defer context.AfterFunc(ctx, stop)()
	var err error
	if role := find(arguments); role != nil {
		err = role(ctx, arguments[1:])
	} else {
		err = measure(ctx, arguments)
	}
	var missing *harness.MissingError
	switch {
	case err == nil:
		return statusPass
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "Stopped, and everything that was started with it.")
		return statusFail
	case errors.Is(err, report.ErrFailed):
		return statusFail // the report says which
	case errors.As(err, &missing):
		fmt.Fprintln(os.Stderr, "bench:", missing)
		return statusMissing
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return statusFail
}

// measure runs the benchmark that the arguments name.
func measure(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", os.Getenv("QUICK") == "1", "end within 50 s, with figures that mean little; also $QUICK=1")
	part := flags.String("part", "", "measure this part of the benchmark alone, e.g. to profile it")
	program := flags.String("program", "", "the streamspace binary to measure (default: build it)")
	flags.Usage = func() { usage(flags) }
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	known := benchmarks()
	i := slices.IndexFunc(known, func(one benchmark) bool { return one.name == flags.Arg(0) })
	if flags.NArg() != 1 || i < 0 {
		flags.Usage()
		return fmt.Errorf("name one benchmark of the list above, not %q", flags.Args())
	}
	if *part != "" && !slices.Contains(known[i].parts, *part) {
		return fmt.Errorf("%s has the parts %q, not %q", known[i].name, known[i].parts, *part)
	}
	out := report.New(os.Stdout)
	out.Notef("%s: %s", known[i].name, known[i].purpose)
	if *quick {
		out.Notef("A quick run: it shows that all works, and its figures mean little.")
	}
	for _, fact := range machine.Facts(ctx, known[i].programs...) {
		out.Notef("  %-12s %s", fact.Name, fact.Value)
	}
	err := harness.Run(ctx, harness.Options{Quick: *quick, Part: *part, Program: *program, Report: out}, known[i].run)
	if err != nil {
		return err
	}
	return out.Close()
}

func usage(flags *flag.FlagSet) {
	fmt.Fprint(os.Stderr, "Usage: bench [flags] BENCHMARK\n\nBenchmarks:\n")
	for _, one := range benchmarks() {
		fmt.Fprintf(os.Stderr, "  %-10s %s\n", one.name, one.purpose)
		if len(one.parts) > 0 {
			fmt.Fprintf(os.Stderr, "  %-10s parts: %s\n", "", strings.Join(one.parts, ", "))
		}
	}
	fmt.Fprint(os.Stderr, "\nFlags:\n")
	flags.PrintDefaults()
}
