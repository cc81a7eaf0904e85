package dispatch

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/bench/databases"
	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// plane is a control plane with nothing but what carries commands.
type plane struct {
	database   *db.Database
	hub        *websocket.AgentHub
	dispatcher *services.CommandDispatcher
	server     *http.Server
	address    string
	running    sync.WaitGroup
	agents     sync.WaitGroup
	hangUp     context.CancelFunc
	talking    context.Context
}

// newPlane makes a control plane over the database and serves it; its
// dispatcher starts with start.
func newPlane(ctx context.Context, database *db.Database) (*plane, error) {
	p := &plane{database: database, hub: websocket.NewAgentHub(database)}
	p.dispatcher = services.NewCommandDispatcher(database, p.hub)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p.address = listener.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.ConnectPath, func(w http.ResponseWriter, r *http.Request) {
		p.hub.ServeConnect(w, r, r.URL.Query().Get(wire.ParamAgentID))
	})
	p.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	p.running.Go(func() { _ = p.server.Serve(listener) })
	p.running.Go(p.hub.Run)
	p.talking, p.hangUp = context.WithCancel(context.WithoutCancel(ctx))
	return p, nil
}

func (p *plane) start() { p.running.Go(p.dispatcher.Start) }

// stop ends everything but the database.
func (p *plane) stop() {
	p.dispatcher.Stop()
	p.hub.Stop()
	_ = p.server.Close()
	p.hangUp()
	p.agents.Wait()
	p.running.Wait()
}

func (p *plane) register(ctx context.Context, agentID string) error {
	_, _, err := p.database.RegisterAgent(ctx, models.Agent{ID: agentID, Platform: models.PlatformProcess}, time.Now())
	return err
}

// populate connects the agents a0, a1 and so on, as many as agents says.
func (p *plane) populate(ctx context.Context, handle func(*socket, wire.Command) error) error {
	for n := range agents {
		id := fmt.Sprint("a", n)
		if err := p.register(ctx, id); err != nil {
			return err
		}
		if err := p.connect(id, handle); err != nil {
			return err
		}
	}
	return nil
}

// drain starts the dispatcher and waits until it has completed so many commands.
func (p *plane) drain(ctx context.Context, count int) error {
	p.start()
	for p.dispatcher.Stats().Completed < uint64(count) {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// connect connects an agent that answers each command as handle says.
func (p *plane) connect(agentID string, handle func(*socket, wire.Command) error) error {
	var burst *wire.BurstConn
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		burst = wire.NewBurstConn(conn)
		return burst, err
	}}
	conn, _, err := ws.Dial(p.talking, "ws://"+p.address+wire.ConnectPath+"?"+wire.ParamAgentID+"="+agentID,
		&ws.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return fmt.Errorf("connect agent: %w", err)
	}
	conn.SetReadLimit(wire.MaxFrame)
	socket := &socket{Conn: conn, queue: make(chan []byte, 256)}
	p.agents.Go(func() { socket.write(burst) })
	p.agents.Go(func() {
		// Closing the socket ends what is under way, at no cost to each frame.
		defer context.AfterFunc(p.talking, func() { _ = socket.CloseNow() })()
		defer func() { _ = socket.CloseNow() }()
		defer close(socket.queue)
		var frame bytes.Buffer
		for {
			_, reader, err := socket.Reader(context.Background())
			if err != nil {
				return
			}
			frame.Reset()
			if _, err := frame.ReadFrom(reader); err != nil {
				return
			}
			message, err := wire.Decode(frame.Bytes())
			if err != nil || message.Type != wire.TypeCommand {
				continue
			}
			var command wire.Command
			if message.Into(&command) != nil || handle(socket, command) != nil {
				return
			}
		}
	})
	for !p.hub.IsAgentConnected(agentID) {
		select {
		case <-time.After(time.Millisecond):
		case <-p.talking.Done():
			return p.talking.Err()
		}
	}
	return nil
}

// socket is an agent's connection with a queue and one writer, as that of the
// product's agent, which writes what waits together.
type socket struct {
	*ws.Conn
	queue chan []byte
}

func (s *socket) write(burst *wire.BurstConn) {
	ctx := context.Background() // the burst has a deadline
	for frame := range s.queue {
		burst.Hold(time.Now().Add(10 * time.Second))
		err := s.Write(ctx, ws.MessageText, frame)
		for range wire.BurstFrames {
			if err != nil || len(s.queue) == 0 {
				break
			}
			err = s.Write(ctx, ws.MessageText, <-s.queue)
		}
		_ = burst.Release() // the reader hears of an end
	}
}

// obey answers a command as an agent does that has nothing to do for it.
func (p *plane) obey(socket *socket, command wire.Command) error {
	for _, answer := range []struct {
		kind    wire.Type
		payload any
	}{{wire.TypeAck, wire.Ack{CommandID: command.CommandID}}, {wire.TypeComplete, wire.Complete{CommandID: command.CommandID}}} {
		frame, err := wire.Encode(answer.kind, answer.payload)
		if err != nil {
			return err
		}
		select {
		case socket.queue <- frame:
		case <-p.talking.Done():
			return p.talking.Err()
		}
	}
	return nil
}

// fill writes commands for the agents a0 to a(agents-1). They concern no session,
// as a no-op job of a peer concerns nothing either. Those with status completed
// have ended long ago.
func fill(ctx context.Context, database *db.Database, prefix, status string, count, agents int) error {
	padded, now, later := "lpad(CAST(i AS text), 9, '0')", "now()", "now() + interval '1 hour'"
	payload := `CAST('{"sessionId":"s","generation":1}' AS jsonb)`
	if database.Engine() == db.SQLite {
		padded, payload = "substr('000000000' || i, -9)", `'{"sessionId":"s","generation":1}'`
		now = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"
		later = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '+1 hour')"
	}
	completed := "NULL"
	if status == models.CommandCompleted {
		completed = now
	}
	_, err := database.DB().ExecContext(ctx, fmt.Sprintf(`INSERT INTO agent_commands
		(command_id, agent_id, generation, action, payload, status, created_at, deadline_at, completed_at)
		SELECT '%s' || %s, 'a' || (i %% %d), 1, 'noop', %s, '%s', %s, %s, %s FROM %s ORDER BY i`,
		prefix, padded, agents, payload, status, now, later, completed, databases.Series(database.Engine(), count)))
	if err != nil {
		return fmt.Errorf("fill in commands: %w", err)
	}
	return nil
}
