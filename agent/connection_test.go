package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/agent"
	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
	"github.com/streamspace/streamspace/wire"
)

func TestRegistersAndConnects(t *testing.T) {
	p, m := newPlane(t), newMachine()
	p.needs = []string{"Xvnc", "chromium", "xterm"}
	m.present = []string{"xterm", "Xvnc"}
	config := configure(t, p, m)
	config.Region, config.ClusterID, config.ClusterName = "eu-1", "k1", "Kitchen"
	config.MaxSessions, config.Version, config.HomeStore = 7, "v1.2.3", "cellar"
	run(t, config)
	l := p.link()
	registered := p.registrations()
	if len(registered) != 1 {
		t.Fatalf("registered %d times", len(registered))
	}
	said := registered[0]
	if said.AgentID != agentID || said.Platform != models.PlatformProcess || said.Region != "eu-1" ||
		said.ClusterID != "k1" || said.ClusterName != "Kitchen" || said.HomeStore != "cellar" || said.Metadata["version"] != "v1.2.3" ||
		said.Metadata["os"] != runtime.GOOS || said.Metadata["arch"] != runtime.GOARCH || said.Metadata["hostname"] == "" {
		t.Errorf("registered as %+v", said)
	}
	heartbeat := into[wire.Heartbeat](l, 1, wire.TypeHeartbeat)
	for from, has := range map[string]map[string]any{"registration": said.Capacity, "heartbeat": heartbeat.Capacity} {
		cpu, cpuErr := models.ParseCPU(fmt.Sprint(has["cpu"]))
		memory, memoryErr := models.ParseMemory(fmt.Sprint(has["memory"]))
		if has["maxSessions"] != 7.0 || cpuErr != nil || cpu < 1000 || memoryErr != nil || memory < 1<<26 {
			t.Errorf("the capacity of the %s is %v", from, has)
		}
	}
	if heartbeat.Status != models.AgentOnline {
		t.Errorf("the status is %q", heartbeat.Status)
	}
	facilities := into[wire.Facilities](l, 1, wire.TypeFacilities)
	if !slices.Equal(facilities.Present, []string{"Xvnc", "xterm"}) {
		t.Errorf("the machine has %v", facilities.Present)
	}
	if inventory := l.nth(1, wire.TypeInventory); string(inventory.Payload) != `{"items":[]}` {
		t.Errorf("the first inventory is %s", inventory.Payload)
	}
	if kinds := l.kinds(); !slices.Equal(kinds, []string{"facilities", "inventory"}) {
		t.Errorf("the frames are %v", kinds)
	}
}

// The verdict comes after what was sent before the inventory has been stored.
func TestReadyOnceTheControlPlaneKnowsTheMachine(t *testing.T) {
	p, m := newPlane(t), newMachine()
	p.mute = true
	r := run(t, configure(t, p, m))
	l := p.link()
	l.nth(1, wire.TypeInventory)
	l.send(wire.TypePing, nil)
	l.nth(1, wire.TypePong)
	if isClosed(r.Ready()) {
		t.Error("ready before the verdict")
	}
	l.send(wire.TypeVerdict, wire.Verdict{})
	awaitClosed(t, "ready", r.Ready())
}

func TestWorksWithTheBasicProtocol(t *testing.T) {
	p, m := newPlane(t), newMachine()
	p.basic = true
	config := configure(t, p, m)
	config.InventoryEvery = time.Millisecond
	r := run(t, config)
	l := p.link()
	awaitClosed(t, "ready", r.Ready())
	l.nth(1, wire.TypeHeartbeat)
	l.start("c1", "s", 1)
	if state := l.answered(1, "c1"); state != "running" {
		t.Errorf("it became %q", state)
	}
	m.exits <- driver.Exit{Ref: driver.Ref{SessionID: "s", Generation: 1}, Clean: true}
	l.nth(1, wire.TypeStatus)
	l.send(wire.TypeOpenTunnel, wire.OpenTunnel{TunnelID: "t", SessionID: "none"})
	program.Eventually(t, "the tunnel fails", soon, func() error {
		if !strings.Contains(r.log.String(), "a tunnel failed") {
			return errors.New("it has not")
		}
		return nil
	})
	l.send(wire.TypePing, nil)
	l.nth(1, wire.TypePong)
	if kinds := l.kinds(); !slices.Equal(kinds, []string{"ack", "complete", "status", "pong"}) {
		t.Errorf("the frames are %v", kinds)
	}
	_ = l.socket.CloseNow()
	l = p.link()
	l.send(wire.TypePing, nil)
	l.nth(1, wire.TypePong)
	l.nth(1, wire.TypeHeartbeat)
	if count := l.count(wire.TypeStatus); count != 0 {
		t.Error("the end is told again, and nothing would ever confirm it")
	}
}

func TestHeartbeatsCountTheSessions(t *testing.T) {
	_, m, l := begin(t)
	last := 0
	count := func(want int) {
		t.Helper()
		program.Eventually(t, fmt.Sprintf("a heartbeat with %d sessions", want), soon, func() error {
			last++
			if got := into[wire.Heartbeat](l, last, wire.TypeHeartbeat).ActiveSessions; got != want {
				return fmt.Errorf("heartbeat %d has %d", last, got)
			}
			return nil
		})
	}
	l.start("c1", "s", 1)
	l.start("c2", "t", 1)
	l.answered(1, "c2")
	count(2)
	l.stop("c3", "s", 2)
	l.answered(1, "c3")
	count(1)
	m.exits <- driver.Exit{Ref: driver.Ref{SessionID: "t", Generation: 1}}
	l.nth(1, wire.TypeStatus)
	count(0)
}

// People install programs while the agent runs.
func TestFacilitiesAreToldAgainWhenTheyChange(t *testing.T) {
	p, m := newPlane(t), newMachine()
	p.needs = []string{"Xvnc"}
	config := configure(t, p, m)
	config.InventoryEvery = 2 * time.Millisecond
	run(t, config)
	l := p.link()
	if present := into[wire.Facilities](l, 1, wire.TypeFacilities).Present; present == nil || len(present) != 0 {
		t.Errorf("the machine has %v", present)
	}
	l.nth(5, wire.TypeInventory)
	if count := l.count(wire.TypeFacilities); count != 1 {
		t.Errorf("nothing has changed and it was told %d times", count)
	}
	m.mu.Lock()
	m.present = []string{"Xvnc"}
	m.mu.Unlock()
	if present := into[wire.Facilities](l, 2, wire.TypeFacilities).Present; !slices.Equal(present, []string{"Xvnc"}) {
		t.Errorf("the machine has %v", present)
	}
}

// Admins apply templates while the agent is connected.
func TestFacilitiesAreToldOfWhatNewTemplatesNeed(t *testing.T) {
	p, m := newPlane(t), newMachine()
	p.needs = []string{"Xvnc"}
	m.present = []string{"Xvnc", "icewm"}
	run(t, configure(t, p, m))
	l := p.link()
	if present := into[wire.Facilities](l, 1, wire.TypeFacilities).Present; !slices.Equal(present, []string{"Xvnc"}) {
		t.Errorf("the machine has %v", present)
	}
	l.send(wire.TypeVerdict, wire.Verdict{Needs: []string{"Xvnc", "icewm", "xterm"}})
	if present := into[wire.Facilities](l, 2, wire.TypeFacilities).Present; !slices.Equal(present, []string{"Xvnc", "icewm"}) {
		t.Errorf("the machine has %v", present)
	}
	l.nth(2, wire.TypeInventory)
	// The same needs, or none, are no news.
	l.send(wire.TypeVerdict, wire.Verdict{Needs: []string{"Xvnc", "icewm", "xterm"}})
	l.send(wire.TypeVerdict, wire.Verdict{})
	l.send(wire.TypeVerdict, wire.Verdict{Needs: []string{"Xvnc"}})
	if present := into[wire.Facilities](l, 3, wire.TypeFacilities).Present; !slices.Equal(present, []string{"Xvnc"}) {
		t.Errorf("the machine has %v", present)
	}
	l.nth(3, wire.TypeInventory)
	if count := l.count(wire.TypeInventory); count != 3 {
		t.Errorf("there are %d inventories", count)
	}
}

// What makes no sense is dropped, and the connection goes on.
func TestMalformedFrames(t *testing.T) {
	p, m, l := begin(t)
	for _, frame := range []string{
		``, `null`, `[]`, `"text"`, `{`, `{}`, `{"type":""}`, `{"type":5}`, `{"type":"command"}`, `{"type":"command","payload":null}`,
		`{"type":"command","payload":[]}`, `{"type":"command","payload":{}}`, `{"type":"command","payload":{"commandId":5}}`,
		`{"type":"command","payload":{"commandId":"` + strings.Repeat("x", 200) + `","action":"stop_session","payload":{"sessionId":"s"}}}`,
		`{"type":"command","payload":{"commandId":"a\nb","action":"stop_session","payload":{"sessionId":"s"}}}`,
		`{"type":"ping"}{"type":"ping"}`, `{"type":"welcome","payload":{"epoch":"x"}}`, `{"type":"welcome","payload":{}}`,
		`{"type":"verdict","payload":{"items":5}}`, `{"type":"verdict","payload":{"items":[{"sessionId":"../x","verdict":"stop"}]}}`,
		`{"type":"open_tunnel"}`, `{"type":"error"}`, `{"type":"error","payload":{"code":"x","message":"y"}}`,
		`{"type":"from_the_future","payload":{"a":1}}`, "{\"type\":\"ping\"}\x00",
	} {
		l.write(frame)
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := l.socket.Write(ctx, ws.MessageBinary, []byte(`{"type":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	l.send(wire.TypePing, nil)
	l.nth(1, wire.TypePong)
	l.start("c1", "s", 1)
	if state := l.answered(1, "c1"); state != "running" {
		t.Errorf("it became %q", state)
	}
	if p.connections() != 1 || m.log() != "start s/1" {
		t.Errorf("there were %d connections and the effects %q", p.connections(), m.log())
	}
	if count := l.count(wire.TypePong); count != 1 {
		t.Errorf("%d pings were understood", count)
	}
	if count := l.count(wire.TypeInventory); count != 1 {
		t.Errorf("another welcome made %d inventories", count)
	}
}

func TestAFrameThatIsTooLargeEndsTheConnection(t *testing.T) {
	p, _, l := begin(t)
	l.write(`{"type":"ping","payload":"` + strings.Repeat("x", wire.MaxFrame) + `"}`)
	l.awaitClosed()
	l = p.link()
	l.send(wire.TypePing, nil)
	l.nth(1, wire.TypePong)
}

func TestSilenceEndsTheConnection(t *testing.T) {
	p, m := newPlane(t), newMachine()
	config := configure(t, p, m)
	config.StaleAfter = 50 * time.Millisecond
	r := run(t, config)
	l := p.link()
	l.awaitClosed()
	p.link()
	if !strings.Contains(r.log.String(), "heard nothing for 50ms") {
		t.Error("the log does not say why")
	}
}

// waits gives the waits between attempts that the log tells of.
func waits(t *testing.T, r *running) (all []time.Duration) {
	t.Helper()
	for _, found := range regexp.MustCompile(`tryAgainIn=(\S+)`).FindAllStringSubmatch(r.log.String(), -1) {
		wait, err := time.ParseDuration(found[1])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, wait)
	}
	return all
}

func TestARefusedKeyIsTriedSlowlyAndSaysWhatToDo(t *testing.T) {
	for _, path := range []string{wire.RegisterPath, wire.ConnectPath} {
		for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
			t.Run(fmt.Sprint(path, status), func(t *testing.T) {
				p, m := newPlane(t), newMachine()
				p.refuse = refuseAll(path, status)
				config := configure(t, p, m)
				config.Backoff.Refused = time.Hour
				r := run(t, config)
				program.Eventually(t, "the advice", soon, func() error {
					if !strings.Contains(r.log.String(), "streamspace agents key "+agentID) {
						return errors.New("it is not in the log")
					}
					return nil
				})
				if all := waits(t, r); len(all) != 1 || all[0] < 45*time.Minute || all[0] > 75*time.Minute {
					t.Errorf("the waits are %v", all)
				}
			})
		}
	}
}

func TestAKeyMayBeMadeLater(t *testing.T) {
	p, m := newPlane(t), newMachine()
	var known atomic.Bool
	refuse := refuseAll(wire.RegisterPath, http.StatusUnauthorized)
	p.refuse = func(w http.ResponseWriter, r *http.Request) bool { return !known.Load() && refuse(w, r) }
	r := run(t, configure(t, p, m))
	program.Eventually(t, "attempts", soon, func() error {
		if len(waits(t, r)) < 3 {
			return errors.New("there are less than three")
		}
		return nil
	})
	known.Store(true)
	p.link()
}

func TestAnAgentThatWasForgottenRegistersAgain(t *testing.T) {
	p, m := newPlane(t), newMachine()
	var forgot atomic.Bool
	p.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == wire.ConnectPath && forgot.Swap(false) {
			http.NotFound(w, r)
			return true
		}
		return false
	}
	run(t, configure(t, p, m))
	l := p.link()
	_ = l.socket.CloseNow()
	l = p.link()
	if count := len(p.registrations()); count != 1 {
		t.Errorf("a mere reconnect registered: %d times", count)
	}
	forgot.Store(true)
	_ = l.socket.CloseNow()
	p.link()
	if count := len(p.registrations()); count != 2 {
		t.Errorf("registered %d times", count)
	}
}

// The key is for the control plane alone.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var strayed atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Store(true) }))
	defer elsewhere.Close()
	p, m := newPlane(t), newMachine()
	p.refuse = func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		return true
	}
	r := run(t, configure(t, p, m))
	program.Eventually(t, "the advice", soon, func() error {
		if !strings.Contains(r.log.String(), elsewhere.URL) {
			return errors.New("it is not in the log")
		}
		return nil
	})
	if strayed.Load() {
		t.Error("the agent went where it was sent")
	}
}

// An attempt that gets as far as a connection is no success: only one that
// lasts lets the waits start over.
func TestWaitsGrowUntilAConnectionLasts(t *testing.T) {
	for name, test := range map[string]struct {
		healthyAfter time.Duration
		grow         bool
	}{"it lasts too short": {time.Hour, true}, "it lasts": {1, false}} {
		t.Run(name, func(t *testing.T) {
			p, m := newPlane(t), newMachine()
			config := configure(t, p, m)
			config.HealthyAfter = test.healthyAfter
			config.Backoff = agent.Backoff{Base: 5 * time.Millisecond, Cap: 100 * time.Millisecond}
			r := run(t, config)
			for range 12 {
				_ = p.link().socket.CloseNow()
			}
			p.link()
			longest := slices.Max(waits(t, r))
			if test.grow != (longest > config.Backoff.Base) || longest > config.Backoff.Cap {
				t.Errorf("the longest wait is %v", longest)
			}
		})
	}
}

func TestComesBackAfterAShutdown(t *testing.T) {
	p, m := newPlane(t), newMachine()
	config := configure(t, p, m)
	config.Backoff.Base = time.Hour // so that only an announced end is followed soon
	config.Backoff.Cap = time.Hour
	r := run(t, config)
	l := p.link()
	l.send(wire.TypeShutdown, wire.Shutdown{Reason: "an upgrade"})
	_ = l.socket.Close(ws.StatusGoingAway, "")
	p.link()
	if !strings.Contains(r.log.String(), "the control plane is stopping") {
		t.Error("the log does not say why")
	}
}

// H3.
func TestAStormOfReconnectsLeavesNothing(t *testing.T) {
	p, m := newPlane(t), newMachine()
	config := configure(t, p, m)
	config.Backoff.Cap = time.Millisecond
	run(t, config)
	l := p.link()
	l.nth(1, wire.TypeInventory)
	before := runtime.NumGoroutine()
	_ = l.socket.CloseNow()
	for range 200 {
		_ = p.link().socket.CloseNow()
	}
	p.link().nth(1, wire.TypeInventory)
	program.Eventually(t, "as many goroutines as before", soon, func() error {
		if now := runtime.NumGoroutine(); now > before+3 {
			return fmt.Errorf("%d, and there were %d", now, before)
		}
		return nil
	})
}

// Also when the control plane registers the agent and then does not let it in.
func TestStoppingLeavesNoConnection(t *testing.T) {
	p, m := newPlane(t), newMachine()
	p.refuse = refuseAll(wire.ConnectPath, http.StatusServiceUnavailable)
	before := runtime.NumGoroutine()
	r := run(t, configure(t, p, m))
	program.Eventually(t, "attempts", soon, func() error {
		if len(waits(t, r)) < 2 {
			return errors.New("there are less than two")
		}
		return nil
	})
	_ = r.stop()
	program.Eventually(t, "as many goroutines as before", soon, func() error {
		if now := runtime.NumGoroutine(); now > before {
			return fmt.Errorf("%d, and there were %d", now, before)
		}
		return nil
	})
}

func TestRunsOnce(t *testing.T) {
	p, m := newPlane(t), newMachine()
	r := run(t, configure(t, p, m))
	p.link()
	if err := r.Run(t.Context()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a second run gave %v", err)
	}
}

func TestWhatIsNeededToMakeAnAgent(t *testing.T) {
	p, m := newPlane(t), newMachine()
	for name, remove := range map[string]func(*agent.Config){
		"Server":      func(c *agent.Config) { c.Server = nil },
		"Key":         func(c *agent.Config) { c.Key = "" },
		"AgentID":     func(c *agent.Config) { c.AgentID = "" },
		"JournalPath": func(c *agent.Config) { c.JournalPath = "" },
		"Driver":      func(c *agent.Config) { c.Driver = nil },
	} {
		config := configure(t, p, m)
		remove(&config)
		if _, err := agent.New(config); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestRunNeedsAJournal(t *testing.T) {
	p, m := newPlane(t), newMachine()
	config := configure(t, p, m)
	config.JournalPath += "/in/a/directory/that/is/not/there"
	made, err := agent.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "journal") {
		t.Errorf("it ran, and gave %v", err)
	}
}
