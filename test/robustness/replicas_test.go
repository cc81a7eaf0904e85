package robustness

import (
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/test/program"
)

// forwarder is the one address of several replicas: it passes connections on
// to the replica that is chosen, as a load balancer does.
type forwarder struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	target string
	open   map[net.Conn]struct{}
	closed bool
}

// startForwarder passes connections on to target.
func startForwarder(t *testing.T, target string) *forwarder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{listener: listener, target: target, open: map[net.Conn]struct{}{}}
	f.running.Go(f.accept)
	t.Cleanup(f.close)
	return f
}

// choose passes new connections on to another replica. Those that are open
// stay where they are.
func (f *forwarder) choose(target string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.target = target
}

func (f *forwarder) accept() {
	for {
		from, err := f.listener.Accept()
		if err != nil {
			return // closed
		}
		f.mu.Lock()
		target := f.target
		f.mu.Unlock()
		to, err := net.Dial("tcp", target)
		if err != nil {
			_ = from.Close()
			continue
		}
		f.pass(from, to)
	}
}

// pass copies both ways until either side ends.
func (f *forwarder) pass(a, b net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		_, _ = a.Close(), b.Close()
		return
	}
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		f.open[way[0]] = struct{}{}
		f.running.Go(func() {
			_, _ = io.Copy(way[1], way[0])
			_, _ = a.Close(), b.Close()
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.open, way[0])
		})
	}
}

func (f *forwarder) close() {
	_ = f.listener.Close()
	f.mu.Lock()
	f.closed = true
	for conn := range f.open {
		_ = conn.Close()
	}
	f.mu.Unlock()
	f.running.Wait()
}

// replica is one control plane of several.
type replica struct {
	*program.Program
	listen, dataDir string
}

// be makes the replica the one that the world speaks to.
func (w *world) be(one replica) {
	w.server, w.listen, w.dataDir, w.address = one.Program, one.listen, one.dataDir, "http://"+one.listen
}

// startReplica starts one more control plane on the world's database.
func (w *world) startReplica(name string) replica {
	w.t.Helper()
	w.listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(freePort(w.t)))
	w.dataDir = filepath.Join(w.dir, name)
	w.startServer()
	return replica{w.server, w.listen, w.dataDir}
}

// newReplicated makes a world of two replicas with the agent on the first.
func newReplicated(t *testing.T) (w *world, front *forwarder, first, second replica) {
	t.Helper()
	w = newWorld(t, failpointBinary(t), startPostgres(t).database("streamspace"))
	first, second = w.startReplica("first"), w.startReplica("second")
	front = startForwarder(t, first.listen)
	w.agentServer = "http://" + front.listener.Addr().String()
	w.be(first)
	w.startAgent()
	return w, front, first, second
}

// reachWithin is what commands may need to an agent whose replica died: it
// notices within 12 s and tries again soon.
const reachWithin = 15 * time.Second

// killReplica kills the replica that the agent is connected to, while sessions
// are launched and stopped through the other one.
func killReplica(t *testing.T, r *report) {
	w, front, first, second := newReplicated(t)
	veterans := w.launch(2)
	before := w.sessions(veterans)
	w.be(second)
	ending := w.launch(2) // by a replica that the agent is not connected to
	one := r.begin(t, "kill -9 of the agent's replica: 6 launches and 2 stops through another", w.engine())
	beginning := w.ids(6)
	launches := w.launching(beginning[:3])
	front.choose(second.listen)
	first.Kill()
	one.over()
	launchesAfter, stops := w.launching(beginning[3:]), w.stopping(ending)
	launches.accepted()
	launchesAfter.accepted()
	stops.accepted()
	w.running(beginning)
	w.ended(ending)
	one.recovered()
	if one.recovery > reachWithin {
		t.Errorf("the commands needed %v, not %v at most", one.recovery, reachWithin)
	}
	w.gone(ending)
	w.once(beginning)
	w.untouched(veterans, before)
	w.finish()
	one.held()
}

// pauseReplica pauses the replica that the agent is connected to. What it
// believes when it goes on is old, and must not count.
func pauseReplica(t *testing.T, r *report) {
	w, front, first, second := newReplicated(t)
	veterans := w.launch(2)
	before := w.sessions(veterans)
	one := r.begin(t, "SIGSTOP of the agent's replica for 40s: 6 launches and 2 stops through another", w.engine())
	ending, beginning := w.launch(2), w.ids(6)
	w.be(second)
	front.choose(second.listen)
	first.Signal(syscall.SIGSTOP)
	paused := time.Now()
	one.over()
	launches, stops := w.launching(beginning), w.stopping(ending)
	launches.accepted()
	stops.accepted()
	w.running(beginning)
	w.ended(ending)
	one.recovered()
	if one.recovery > reachWithin {
		t.Errorf("the commands needed %v, not %v at most", one.recovery, reachWithin)
	}
	w.gone(ending)
	w.once(beginning)
	epoch := w.epoch()
	lasts(time.Until(paused.Add(40 * time.Second)))
	first.Signal(syscall.SIGCONT)
	w.be(first)
	again := w.launch(2)
	w.untouched(veterans, before)
	w.stop(slices.Concat(again, beginning))
	if now := w.epoch(); now != epoch {
		t.Errorf("the agent has connected again: connection %d, before %d", now, epoch)
	}
	w.finish()
	one.held()
}
