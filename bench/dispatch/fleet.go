package dispatch

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/bench/databases"
	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/postgres"
	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

const (
	// settleSeconds is how long a fleet is left alone before its memory is read,
	// in a full run and in a quick one.
	settleSeconds, settleQuick = 10, 2
	// reconnectBase and reconnectCap are the product's agents' own backoff.
	reconnectBase, reconnectCap = 250 * time.Millisecond, 30 * time.Second
)

// fleet measures ten thousand agents on one process: its memory beside that of
// a bare WebSocket server, and the time from a full disconnect until all are
// back and have been sent a command.
func fleet(ctx context.Context, b *harness.Bench, server *postgres.Server) error {
	count := b.Of(10_000, 1_000)
	url, err := server.Create(ctx, "fleet")
	if err != nil {
		return err
	}
	database, err := databases.Open(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = database.Close() }()
	if _, err := database.DB().ExecContext(ctx, `INSERT INTO agents (id, platform, status, created_at, updated_at)
		SELECT 'a' || i, 'process', 'offline', now(), now() FROM `+databases.Series(database.Engine(), count)); err != nil {
		return fmt.Errorf("register the fleet: %w", err)
	}
	ours, err := memory(ctx, b, count, "hub", "--database", url)
	if err != nil {
		return err
	}
	defer func() { _, _ = ours.agents.Stop(), ours.server.Stop() }()
	bare, err := memory(ctx, b, count, "bare")
	if err != nil {
		return err
	}
	_, _ = bare.agents.Stop(), bare.server.Stop()
	b.Report.Notef("\n%d idle agents: %.1f KiB each beside %.1f of a bare server", count, ours.perAgent/1024, bare.perAgent/1024)
	b.Report.Result("fleet_memory_over_bare", ours.perAgent/bare.perAgent, report.AtMost(1.5))

	var gone int
	if err := database.DB().QueryRowContext(ctx, "SELECT count(*) FROM agents WHERE status <> 'online'").Scan(&gone); err != nil {
		return fmt.Errorf("count the fleet: %w", err)
	}
	b.Report.Result("fleet_falsely_gone", float64(gone), report.AtMost(0))

	// Every agent has a command waiting, and then every connection is cut.
	if err := fill(ctx, database, "f", models.CommandPending, count, count); err != nil {
		return err
	}
	begin := time.Now()
	if err := syscall.Kill(ours.server.PID(), syscall.SIGUSR1); err != nil {
		return fmt.Errorf("cut the connections: %w", err)
	}
	for done := 0; done < count; {
		if err := database.DB().QueryRowContext(ctx, "SELECT count(*) FROM agent_commands WHERE status = 'completed'").Scan(&done); err != nil {
			return fmt.Errorf("count the fleet's commands: %w", err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.Report.Result("fleet_back_seconds", time.Since(begin).Seconds(), report.AtMost(30))
	return nil
}

// crowd is a server with agents on it, each in a process.
type crowd struct {
	server, agents *processes.Process
	perAgent       float64
}

// memory starts a server and agents, and reads what the server takes for each.
func memory(ctx context.Context, b *harness.Bench, count int, role string, arguments ...string) (*crowd, error) {
	server, err := b.Processes.Start(b.Role(append([]string{role}, arguments...)...))
	if err != nil {
		return nil, err
	}
	line, err := server.Line(ctx, "ready")
	if err != nil {
		return nil, err
	}
	before, err := resident(server.PID())
	if err != nil {
		return nil, err
	}
	agents, err := b.Processes.Start(b.Role("fleet", "--to", strings.Fields(line)[1], "--count", strconv.Itoa(count)))
	if err != nil {
		return nil, err
	}
	if _, err := agents.Line(ctx, "ready"); err != nil {
		return nil, err
	}
	select {
	case <-time.After(time.Duration(b.Of(settleSeconds, settleQuick)) * time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, err := resident(server.PID())
	return &crowd{server: server, agents: agents, perAgent: float64(after-before) / float64(count)}, err
}

// resident is a process's memory in bytes, after it has given back what it can.
func resident(pid int) (int64, error) {
	if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
		return 0, fmt.Errorf("ask for memory back: %w", err)
	}
	time.Sleep(time.Second) // what it takes to give memory back
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(content))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// giveBack frees memory at each SIGUSR2 until ctx ends.
func giveBack(ctx context.Context) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2)
	defer signal.Stop(asked)
	for {
		select {
		case <-asked:
			debug.FreeOSMemory()
		case <-ctx.Done():
			return
		}
	}
}

// ServeHub is the role of the product's server; SIGUSR1 cuts every connection.
func ServeHub(ctx context.Context, arguments []string, ready func(address string)) error {
	flags := flag.NewFlagSet("hub", flag.ContinueOnError)
	url := flags.String("database", "", "the database's URL")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	database, err := databases.Open(ctx, *url)
	if err != nil {
		return err
	}
	defer func() { _ = database.Close() }()
	p, err := newPlane(ctx, database)
	if err != nil {
		return err
	}
	defer p.stop()
	conns := &connections{}
	p.server.ConnState = conns.note
	p.start()
	cut := make(chan os.Signal, 1)
	signal.Notify(cut, syscall.SIGUSR1)
	defer signal.Stop(cut)
	ready(p.address)
	go giveBack(ctx)
	for {
		select {
		case <-cut:
			conns.cut()
		case <-ctx.Done():
			return nil
		}
	}
}

// connections are those that were taken over for WebSockets.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = map[net.Conn]struct{}{}
	}
	if state == http.StateHijacked {
		c.open[conn] = struct{}{}
	}
}

func (c *connections) cut() {
	c.mu.Lock()
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for conn := range open {
		_ = conn.Close()
	}
}

// ServeBare is the role of a WebSocket server that does nothing but read.
func ServeBare(ctx context.Context, ready func(address string)) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := ws.Accept(w, r, &ws.AcceptOptions{CompressionMode: ws.CompressionDisabled})
		if err != nil {
			return
		}
		defer func() { _ = socket.CloseNow() }()
		for {
			if _, _, err := socket.Read(ctx); err != nil {
				return
			}
		}
	})}
	go giveBack(ctx)
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	ready(listener.Addr().String())
	_ = server.Serve(listener) // ends with ctx
	return nil
}

// RunFleet is the role of many agents in one process: each connects, answers
// heartbeats and commands, and comes back with full jitter.
func RunFleet(ctx context.Context, arguments []string, ready func()) error {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	address := flags.String("to", "", "the server's address")
	count := flags.Int("count", 0, "how many agents")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	var connected atomic.Int64
	var running sync.WaitGroup
	dialling := make(chan struct{}, 64)
	for n := range *count {
		running.Go(func() {
			for failures := 0; ctx.Err() == nil; failures++ {
				dialling <- struct{}{}
				socket, _, err := ws.Dial(ctx, fmt.Sprintf("ws://%s%s?%s=a%d", *address, wire.ConnectPath, wire.ParamAgentID, n), nil)
				<-dialling
				if err == nil {
					connected.Add(1)
					live(ctx, socket)
					failures = 0
				}
				select {
				case <-time.After(rand.N(min(reconnectBase<<min(failures, 10), reconnectCap))):
				case <-ctx.Done():
				}
			}
		})
	}
	for connected.Load() < int64(*count) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ready()
	running.Wait()
	return nil
}

// live is one connection of one agent.
func live(ctx context.Context, socket *ws.Conn) {
	defer func() { _ = socket.CloseNow() }()
	heartbeat := []byte(`{"type":"heartbeat","payload":{"status":"online","activeSessions":0}}`)
	over, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		first := time.NewTimer(rand.N(wire.HeartbeatEvery)) // not all in one second
		defer first.Stop()
		for {
			select {
			case <-first.C:
				first.Reset(wire.HeartbeatEvery)
				_ = socket.Write(over, ws.MessageText, heartbeat) // the reader hears of an end
			case <-over.Done():
				return
			}
		}
	}()
	for {
		_, frame, err := socket.Read(ctx)
		if err != nil {
			return
		}
		message, err := wire.Decode(frame)
		if err != nil || message.Type != wire.TypeCommand {
			continue
		}
		var command wire.Command
		if message.Into(&command) != nil {
			return
		}
		answer, err := wire.Encode(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
		if err != nil || socket.Write(ctx, ws.MessageText, answer) != nil {
			return
		}
	}
}
