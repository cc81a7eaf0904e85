package robustness

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wire is a pair of network interfaces between this machine and a network
// namespace, the agent's.
type wire struct {
	t         *testing.T
	namespace string
	ours, its end
}

// end is one side of a wire.
type end struct {
	device, address, hardware string
	// in is how to run a program on that side.
	in []string
}

// connect makes a namespace and a wire to it. number tells it from others.
func connect(t *testing.T, number int) wire {
	t.Helper()
	name := "rb" + strconv.Itoa(number)
	// Subnets of four addresses in a network for private use (RFC 1918).
	address := func(host int) string {
		at := number%(1<<14)*4 + host
		return fmt.Sprintf("10.213.%d.%d", at>>8, at&255)
	}
	w := wire{t: t, namespace: name,
		ours: end{device: name + "a", address: address(1)},
		its:  end{device: name + "b", address: address(2), in: []string{"ip", "netns", "exec", name}}}
	run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { run(t, "ip", "netns", "del", name) }) // and with it the wire
	run(t, "ip", "link", "add", w.ours.device, "type", "veth", "peer", "name", w.its.device, "netns", name)
	for _, side := range []*end{&w.ours, &w.its} {
		side.run(t, "ip", "address", "add", side.address+"/30", "dev", side.device)
		side.run(t, "ip", "link", "set", side.device, "up")
		shown := strings.Fields(side.run(t, "ip", "-o", "link", "show", side.device))
		for i, word := range shown {
			if word == "link/ether" {
				side.hardware = shown[i+1]
			}
		}
	}
	return w
}

func (e end) run(t *testing.T, command ...string) string {
	t.Helper()
	return run(t, append(e.in[:len(e.in):len(e.in)], command...)...)
}

func run(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// lose drops everything that one side sends to the other, and tells nobody: it
// goes to a hardware address that the other side does not have.
func (w wire) lose(from, to end) (restore func()) {
	w.t.Helper()
	send := func(hardware string) {
		w.t.Helper()
		from.run(w.t, "ip", "neighbour", "replace", to.address, "lladdr", hardware, "nud", "permanent", "dev", from.device)
	}
	send("02:00:00:00:00:01") // locally administered (IEEE 802), so nobody's
	return func() { w.t.Helper(); send(to.hardware) }
}

// lossLasts is longer than the silence after which the agent gives a
// connection up, 12 s.
const lossLasts = 20 * time.Second

// loseOneWay loses all packets of one direction between control plane and
// agent. Launches, stops and ends are under way.
func loseOneWay(t *testing.T, r *report, toAgent bool) {
	asRoot(t, "ip")
	w := newWorld(t, failpointBinary(t), "")
	_, port, err := net.SplitHostPort(w.listen)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	between := connect(t, number)
	w.serveAt(net.JoinHostPort(between.ours.address, port))
	w.agentPrefix = between.its.in
	w.startServer()
	w.startAgent()
	veterans := w.launch(2)

	from, to, direction := between.its, between.ours, "agent to server"
	if toAgent {
		from, to, direction = to, from, "server to agent"
	}
	one := r.begin(t, fmt.Sprintf("all packets from %s lost for %v: 3 launches, 1 stop and 1 end under way", direction, lossLasts), w.engine())
	before, epoch := w.sessions(veterans), w.epoch()
	ending, starting, beginning := w.launch(1), w.ids(1), w.ids(3)
	w.faults.arm("supervisor-ready", 1, "hold")
	w.launching(starting).accepted()
	ready := w.faults.held("supervisor-ready")
	restore := between.lose(from, to)
	ready()
	launches, stops := w.launching(beginning), w.stopping(ending)
	launches.accepted() // by a control plane that hears and does all else
	stops.accepted()
	lasts(lossLasts)
	if toAgent && !strings.Contains(w.agent.Log.String(), "heard nothing for") {
		t.Error("the agent has not noticed the silence")
	}
	restore()
	one.over()
	w.running(append(beginning, starting...))
	w.ended(ending)
	w.online()
	one.recovered()
	if now := w.epoch(); toAgent && now == epoch {
		t.Error("the agent has not connected again")
	}
	w.gone(ending)
	w.once(append(beginning, starting...))
	w.untouched(veterans, before)
	w.finish()
	one.held()
}

// serveAt has the control plane listen elsewhere.
func (w *world) serveAt(listen string) {
	w.listen, w.address, w.agentServer = listen, "http://"+listen, "http://"+listen
}
