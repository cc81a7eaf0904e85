package dispatch

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/bench/databases"
	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/postgres"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/bench/statistics"
	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// creators write commands at the same time when the rate is looked for.
const creators = 8

// latency measures the time from a command's commit to its receipt by the
// agent, idle and at half of the rate at which commands can be created, beside
// one commit and one echo over a WebSocket.
func latency(ctx context.Context, b *harness.Bench, server *postgres.Server) error {
	database, err := databases.Create(ctx, server, "latency")
	if err != nil {
		return err
	}
	defer func() { _ = database.Close() }()
	p, err := newPlane(ctx, database)
	if err != nil {
		return err
	}
	defer p.stop()
	probe := &probe{plane: p, received: map[string]chan time.Time{}}
	if err := p.populate(ctx, probe.obey); err != nil {
		return err
	}
	p.start()
	count, rounds := b.Of(400, 100), b.Of(7, 3)
	var idleRounds, sums, idleAll []float64
	for range rounds {
		sample, commits, err := probe.idle(ctx, count)
		if err != nil {
			return err
		}
		echoes, err := echo(ctx, count)
		if err != nil {
			return err
		}
		idleRounds = append(idleRounds, statistics.Median(sample))
		idleAll = append(idleAll, sample...)
		sums = append(sums, statistics.Median(commits)+statistics.Median(echoes))
	}
	b.Report.Compare(report.Comparison{Metric: "dispatch_latency_p50_over_commit_and_echo", Goal: report.AtMost(1.5), Digits: 3,
		Peer: "one commit and one echo", Title: "From commit to receipt, idle, p50 of each round in ms", Ours: idleRounds, Theirs: sums})
	b.Report.Result("dispatch_latency_idle_p99_ms", statistics.Quantile(idleAll, 0.99), report.AtMost(20))

	most, err := probe.rate(ctx, time.Duration(b.Of(4, 1))*time.Second)
	if err != nil {
		return err
	}
	loaded, err := probe.loaded(ctx, most/2, time.Duration(b.Of(15, 2))*time.Second)
	if err != nil {
		return err
	}
	b.Report.Notef("\nFrom commit to receipt at %.0f commands a second, half of what %d writers create: p50 %.3f, p99 %.3f, p99.9 %.3f ms (idle: %.3f, %.3f, %.3f)",
		most/2, creators, statistics.Median(loaded), statistics.Quantile(loaded, 0.99), statistics.Quantile(loaded, 0.999),
		statistics.Median(idleAll), statistics.Quantile(idleAll, 0.99), statistics.Quantile(idleAll, 0.999))
	b.Report.Result("dispatch_latency_half_load_p50_over_commit_and_echo", statistics.Median(loaded)/statistics.Median(sums), report.AtMost(1.5))
	b.Report.Result("dispatch_latency_half_load_p99_ms", statistics.Quantile(loaded, 0.99), report.AtMost(20))
	return nil
}

// probe creates commands and hears of their receipt.
type probe struct {
	*plane
	mu       sync.Mutex
	next     int
	received map[string]chan time.Time
}

// obey notes when the command came, and answers it.
func (p *probe) obey(socket *socket, command wire.Command) error {
	now := time.Now()
	p.mu.Lock()
	waiting := p.received[command.CommandID]
	delete(p.received, command.CommandID)
	p.mu.Unlock()
	if waiting != nil {
		waiting <- now
	}
	return p.plane.obey(socket, command)
}

// create writes a command and dispatches it, and gives how long the commit took
// and when it was over.
func (p *probe) create(ctx context.Context) (commit time.Duration, committed time.Time, received <-chan time.Time, err error) {
	arrival := make(chan time.Time, 1)
	p.mu.Lock()
	n := p.next
	p.next++
	command := models.AgentCommand{CommandID: fmt.Sprintf("l%09d", n), AgentID: fmt.Sprint("a", n%agents), SessionID: fmt.Sprint("s", n),
		Action: "noop", Status: models.CommandPending, Payload: &models.CommandPayload{"sessionId": "s"}, DeadlineAt: time.Now().Add(time.Hour)}
	p.received[command.CommandID] = arrival
	p.mu.Unlock()
	begin := time.Now()
	if err := p.database.CreateCommand(ctx, &command, begin); err != nil {
		return 0, begin, nil, err
	}
	committed = time.Now()
	if err := p.dispatcher.DispatchCommand(&command); err != nil && models.CodeOf(err) != models.CodeQueueFull {
		return 0, begin, nil, err
	}
	return committed.Sub(begin), committed, arrival, nil
}

// idle sends one command after the other, and gives latencies and commits in ms.
func (p *probe) idle(ctx context.Context, count int) (latencies, commits []float64, err error) {
	for range count {
		commit, committed, received, err := p.create(ctx)
		if err != nil {
			return nil, nil, err
		}
		select {
		case at := <-received:
			latencies = append(latencies, statistics.Milliseconds(at.Sub(committed)))
			commits = append(commits, statistics.Milliseconds(commit))
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		for p.dispatcher.Stats().Unwritten > 0 { // idle means that the last one is over
			time.Sleep(100 * time.Microsecond)
		}
	}
	return latencies, commits, nil
}

// rate gives the commands a second that the creators write and see received.
func (p *probe) rate(ctx context.Context, during time.Duration) (float64, error) {
	begin := time.Now()
	counts, errs := make([]int, creators), make([]error, creators)
	var creating sync.WaitGroup
	for worker := range creators {
		creating.Go(func() {
			for time.Since(begin) < during && errs[worker] == nil {
				var received <-chan time.Time
				if _, _, received, errs[worker] = p.create(ctx); errs[worker] == nil {
					<-received
					counts[worker]++
				}
			}
		})
	}
	creating.Wait()
	total := 0
	for worker, count := range counts {
		if errs[worker] != nil {
			return 0, errs[worker]
		}
		total += count
	}
	return float64(total) / time.Since(begin).Seconds(), nil
}

// loaded creates commands at a steady rate, each when its time has come however
// late the others are, and gives their latencies in ms.
func (p *probe) loaded(ctx context.Context, rate float64, during time.Duration) ([]float64, error) {
	var mu sync.Mutex
	var latencies []float64
	var failed error
	due := make(chan struct{}, 100_000)
	var creating sync.WaitGroup
	for range 4 * creators {
		creating.Go(func() {
			for range due {
				_, committed, received, err := p.create(ctx)
				if err == nil {
					at := <-received
					mu.Lock()
					latencies = append(latencies, statistics.Milliseconds(at.Sub(committed)))
					mu.Unlock()
					continue
				}
				mu.Lock()
				failed = err
				mu.Unlock()
			}
		})
	}
	begin := time.Now()
	for n := 0; ; n++ {
		at := time.Duration(float64(n) / rate * float64(time.Second))
		if at > during || ctx.Err() != nil {
			break
		}
		if wait := at - time.Since(begin); wait > 0 {
			time.Sleep(wait)
		}
		due <- struct{}{}
	}
	close(due)
	creating.Wait()
	return latencies, failed
}

// echo measures the way there and back over a WebSocket of the same library, in
// ms.
func echo(ctx context.Context, count int) ([]float64, error) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := ws.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = socket.CloseNow() }()
		for {
			kind, message, err := socket.Read(context.WithoutCancel(r.Context()))
			if err != nil || socket.Write(context.WithoutCancel(r.Context()), kind, message) != nil {
				return
			}
		}
	}))
	defer server.Close()
	socket, _, err := ws.Dial(ctx, server.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("dial the echo: %w", err)
	}
	defer func() { _ = socket.CloseNow() }()
	frame, err := wire.EncodeCommand("l000000000", "noop", []byte(`{"sessionId":"s"}`))
	if err != nil {
		return nil, err
	}
	var echoes []float64
	for range count {
		begin := time.Now()
		if err := socket.Write(ctx, ws.MessageText, frame); err != nil {
			return nil, fmt.Errorf("echo: %w", err)
		}
		if _, _, err := socket.Read(ctx); err != nil {
			return nil, fmt.Errorf("echo: %w", err)
		}
		echoes = append(echoes, statistics.Milliseconds(time.Since(begin)))
	}
	return echoes, nil
}

// growth measures commands a second with few and with many finished rows in the
// table.
func growth(ctx context.Context, b *harness.Bench, server *postgres.Server) error {
	count, rounds := b.Of(20_000, 5_000), b.Of(11, 3)
	few, many := 10_000, b.Of(5_000_000, 300_000)
	filled := map[int]*db.Database{}
	for _, rows := range []int{few, many} {
		database, err := databases.Create(ctx, server, fmt.Sprint("growth", rows))
		if err != nil {
			return err
		}
		defer func() { _ = database.Close() }()
		filled[rows] = database
		if err := fill(ctx, database, "a", models.CommandCompleted, rows, 1000); err != nil {
			return err
		}
		if _, err := database.DB().ExecContext(ctx, "VACUUM ANALYZE agent_commands"); err != nil {
			return fmt.Errorf("analyse the table: %w", err)
		}
	}
	if _, err := filled[many].DB().ExecContext(ctx, "CHECKPOINT"); err != nil {
		return fmt.Errorf("settle the disk: %w", err)
	}
	rates := map[int][]float64{}
	for round := range rounds + 1 {
		for _, rows := range []int{many, few} {
			took, err := more(ctx, filled[rows], round, count)
			if err != nil {
				return err
			}
			if round > 0 { // the first one warms the caches
				rates[rows] = append(rates[rows], float64(count)/took.Seconds())
			}
		}
	}
	b.Report.Compare(report.Comparison{Metric: "dispatch_with_many_finished_rows", Goal: report.AtLeast(0.9), Peer: fmt.Sprint("with ", few),
		Title: fmt.Sprintf("Commands a second with %d finished rows in the table", many), Ours: rates[many], Theirs: rates[few]})
	return nil
}

// more dispatches further commands, and leaves those before in the table.
func more(ctx context.Context, database *db.Database, round, count int) (time.Duration, error) {
	// Ids rise with time, as those that the product makes do.
	if err := fill(ctx, database, fmt.Sprintf("r%02d-", round), models.CommandPending, count, agents); err != nil {
		return 0, err
	}
	p, err := newPlane(ctx, database)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	if err := p.populate(ctx, p.obey); err != nil {
		return 0, err
	}
	took, _, err := timed(nil, func() error { return p.drain(ctx, count) })
	return took, err
}

// idle measures commands a second while another transaction of the same
// database is left open, which keeps PostgreSQL from cleaning up behind the
// queue.
func idle(ctx context.Context, b *harness.Bench, server *postgres.Server) error {
	database, err := databases.Create(ctx, server, "idle")
	if err != nil {
		return err
	}
	defer func() { _ = database.Close() }()
	count, rounds := b.Of(20_000, 4_000), b.Of(8, 4)
	measure := func(from int) (rates []float64, err error) {
		for round := range rounds {
			took, err := more(ctx, database, from+round, count)
			if err != nil {
				return nil, err
			}
			rates = append(rates, float64(count)/took.Seconds())
		}
		return rates, nil
	}
	free, err := measure(0)
	if err != nil {
		return err
	}
	tx, err := database.DB().BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin the idle transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"); err != nil {
		return fmt.Errorf("begin the idle transaction: %w", err)
	}
	var one int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM agents").Scan(&one); err != nil {
		return fmt.Errorf("begin the idle transaction: %w", err)
	}
	held, err := measure(rounds)
	if err != nil {
		return err
	}
	b.Report.Compare(report.Comparison{Metric: "dispatch_beside_an_idle_transaction", Goal: report.AtLeast(0.8), Peer: "without it",
		Title: fmt.Sprintf("Commands a second beside a transaction left open, %d at a time", count), Ours: held, Theirs: free})
	return nil
}
