package main

import (
	"context"

	"github.com/streamspace/streamspace/bench/dispatch"
	"github.com/streamspace/streamspace/bench/docker"
	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/kubernetes"
	"github.com/streamspace/streamspace/bench/launch"
	"github.com/streamspace/streamspace/bench/machine"
	"github.com/streamspace/streamspace/bench/pages"
	"github.com/streamspace/streamspace/bench/placement"
	"github.com/streamspace/streamspace/bench/reconcile"
	"github.com/streamspace/streamspace/bench/stream"
)

// benchmark is something that can be measured.
type benchmark struct {
	name, purpose string
	run           func(context.Context, *harness.Bench) error
	// parts can be measured alone.
	parts []string
	// programs are those whose versions the figures depend on.
	programs []machine.Program
}

// benchmarks lists all. A new one is a package with a Run, and a line here.
func benchmarks() []benchmark {
	return []benchmark{
		{"launch", "the time from the wish for a desktop to its first pixels, beside Xvnc started by hand", launch.Run,
			nil, []machine.Program{debian("tigervnc-standalone-server"), debian("icewm")}},
		{"stream", "the way of a stream's bytes, beside websockify", stream.Run,
			[]string{stream.Bulk, stream.Echo, stream.Open, stream.Slow}, []machine.Program{debian("websockify")}},
		{"http", "the way of requests to a session that is web pages, beside nginx in front of the same server", pages.Run,
			[]string{pages.Download, pages.Upload, pages.Requests}, []machine.Program{debian("nginx")}},
		{"dispatch", "the way of commands to agents and back, beside River, plain SQL and a bare WebSocket server", dispatch.Run,
			[]string{dispatch.Throughput, dispatch.SQLite, dispatch.Latency, dispatch.Idle, dispatch.Fleet, dispatch.Growth},
			[]machine.Program{debian("postgresql")}},
		{"placement", "the choice of agents for sessions, beside a count for each agent and a draw of three", placement.Run,
			[]string{placement.Decisions, placement.Balance, placement.Durable, placement.Select}, []machine.Program{debian("postgresql")}},
		{"reconcile", "one look at all sessions for those that are stuck, in a large table beside a small one", reconcile.Run,
			nil, []machine.Program{debian("postgresql")}},
		{"kubernetes", "the time from the wish for a session in a pod to its first byte, beside kubectl run", kubernetes.Run,
			nil, []machine.Program{debian("containerd")}},
		{"docker", "the time from the wish for a session to its first byte when sessions are containers, beside docker run", docker.Run,
			nil, []machine.Program{debian("docker.io")}},
	}
}

// debian asks the package manager, as most programs tell their version in ways
// of their own.
func debian(name string) machine.Program {
	return machine.Program{Name: name, Command: []string{"dpkg-query", "-W", name}}
}
