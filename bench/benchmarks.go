package main

import (
	"context"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/machine"
	"github.com/streamspace/streamspace/bench/stream"
)

// benchmark is something that can be measured.
type benchmark struct {
	name, purpose string
	run           func(context.Context, *harness.Bench) error
	// programs are those whose versions the figures depend on.
	programs []machine.Program
}

// benchmarks lists all. A new one is a package with a Run, and a line here.
func benchmarks() []benchmark {
	return []benchmark{
		{"stream", "the way of a stream's bytes, beside websockify", stream.Run, []machine.Program{debian("websockify")}},
	}
}

// debian asks the package manager, as most programs tell their version in ways
// of their own.
func debian(name string) machine.Program {
	return machine.Program{Name: name, Command: []string{"dpkg-query", "-W", name}}
}
