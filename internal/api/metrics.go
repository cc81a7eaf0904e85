package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// scrapeDeadline bounds what a scrape asks of the database.
const scrapeDeadline = 5 * time.Second

// metrics are what the API itself measures.
type metrics struct {
	durations *prometheus.HistogramVec
	tunnels   prometheus.Gauge
}

// newMetrics registers everything that /metrics shows.
func newMetrics(config Config) (*metrics, error) {
	m := &metrics{
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "streamspace_http_request_duration_seconds",
			Help:    "Duration of HTTP requests, streams and upgrades aside.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"method", "route", "status"}),
		tunnels: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "streamspace_tunnels_open",
			Help: "Streams that viewers have open through this process.",
		}),
	}
	collectors := []prometheus.Collector{m.durations, m.tunnels,
		&counts{database: config.Database, reconciler: config.Reconciler, logger: config.Logger}}
	if sessions := config.Sessions; sessions != nil {
		collectors = append(collectors,
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "streamspace_placements_total",
				Help: "Sessions that this process has given an agent.",
			}, func() float64 { return float64(sessions.Stats().Placed) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "streamspace_placement_conflicts_total",
				Help: "Placements that lost a race, for the agent's room or for the session.",
			}, func() float64 { return float64(sessions.Stats().Conflicts) }),
		)
	}
	if dispatcher := config.Dispatcher; dispatcher != nil {
		collectors = append(collectors,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "streamspace_dispatch_queue_length",
				Help: "Commands waiting in the dispatcher's queue.",
			}, func() float64 { return float64(dispatcher.GetQueueLength()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "streamspace_dispatch_queue_capacity",
				Help: "Commands that the dispatcher's queue can hold.",
			}, func() float64 { return float64(dispatcher.GetQueueCapacity()) }),
			&dispatch{dispatcher: dispatcher, registered: describeDispatch()},
		)
	}
	if config.Reconciler != nil && config.Dispatcher != nil {
		collectors = append(collectors, &reconciling{reconciler: config.Reconciler, dispatcher: config.Dispatcher})
	}
	if config.Convergence != nil {
		collectors = append(collectors, config.Convergence.seconds)
	}
	var failed []error
	for _, collector := range collectors {
		failed = append(failed, config.Registry.Register(collector))
	}
	if err := errors.Join(failed...); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

// request counts one request. The route is the mux's pattern, so that paths
// that callers make up add no series; everything unknown counts as one.
func (m *metrics) request(method, pattern string, status int, elapsed time.Duration) {
	_, route, found := strings.Cut(pattern, " ")
	if !found {
		route = "other"
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete:
	default:
		method = "other"
	}
	m.durations.WithLabelValues(method, route, strconv.Itoa(status)).Observe(elapsed.Seconds())
}

// counts reads the database at each scrape.
type counts struct {
	database   *db.Database
	reconciler *services.SessionReconciler
	logger     *slog.Logger
}

// The descriptions of what counts collects.
func describeSessions() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_sessions", "Sessions by state.", []string{"state"}, nil)
}

func describeAgents() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_agents", "Agents by status.", []string{"status"}, nil)
}

func describeCordoned() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_agents_cordoned", "Agents that are cordoned, whatever their status.", nil, nil)
}

func describeCommands() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_commands", "Commands by status.", []string{"status"}, nil)
}

func describeOldest() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_commands_oldest_age_seconds", "Age of the oldest command that has not ended, by status.", []string{"status"}, nil)
}

func describeStuck() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_sessions_stuck", "Sessions that have been too long in a passing state.", []string{"state"}, nil)
}

func describeLease() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_reconciler_lease", "1 on the replica that reconciles sessions, 0 on the others.", nil, nil)
}

func describeHold() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_reconciler_hold",
		"1 while no agent is taken for gone, since most fell silent at once or the control plane was away itself.", nil, nil)
}

func describeWaiting() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_sessions_waiting", "Sessions that wait for an agent.", nil, nil)
}

func describeUp() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_database_up", "Whether the database answered this scrape.", nil, nil)
}

// Describe implements prometheus.Collector.
func (c *counts) Describe(described chan<- *prometheus.Desc) {
	described <- describeSessions()
	described <- describeAgents()
	described <- describeCordoned()
	described <- describeCommands()
	described <- describeOldest()
	described <- describeStuck()
	described <- describeLease()
	described <- describeHold()
	described <- describeWaiting()
	described <- describeUp()
}

// Collect implements prometheus.Collector. What could not be read is left out,
// and streamspace_database_up tells.
func (c *counts) Collect(collected chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeDeadline)
	defer cancel()
	up := 1.0
	for _, read := range []func(context.Context, chan<- prometheus.Metric) error{
		c.sessions, c.agents, c.commands, c.stuck,
	} {
		if err := read(ctx, collected); err != nil {
			up = 0
			c.logger.ErrorContext(ctx, "count for metrics", "error", err)
		}
	}
	collected <- prometheus.MustNewConstMetric(describeUp(), prometheus.GaugeValue, up)
}

func (c *counts) sessions(ctx context.Context, collected chan<- prometheus.Metric) error {
	count, err := c.database.CountSessions(ctx)
	if err != nil {
		return fmt.Errorf("count sessions: %w", err)
	}
	for _, state := range models.SessionStates() {
		gauge(collected, describeSessions(), count[state], string(state))
	}
	waiting, err := c.database.CountWaiting(ctx)
	if err != nil {
		return err
	}
	collected <- prometheus.MustNewConstMetric(describeWaiting(), prometheus.GaugeValue, float64(waiting))
	return nil
}

func (c *counts) agents(ctx context.Context, collected chan<- prometheus.Metric) error {
	agents, err := c.database.Candidates(ctx, db.AgentFilter{})
	if err != nil {
		return fmt.Errorf("count agents: %w", err)
	}
	count, cordoned := map[string]int{}, 0
	for _, agent := range agents {
		count[agent.Status]++
		if agent.Cordoned {
			cordoned++
		}
	}
	collected <- prometheus.MustNewConstMetric(describeCordoned(), prometheus.GaugeValue, float64(cordoned))
	for _, status := range models.AgentStates() {
		gauge(collected, describeAgents(), count[status], status)
	}
	return nil
}

func (c *counts) commands(ctx context.Context, collected chan<- prometheus.Metric) error {
	count, err := c.database.CountCommands(ctx)
	if err != nil {
		return fmt.Errorf("count commands: %w", err)
	}
	for _, status := range models.CommandStates() {
		gauge(collected, describeCommands(), count[status], status)
	}
	oldest, err := c.database.OldestUnfinished(ctx)
	if err != nil {
		return fmt.Errorf("age commands: %w", err)
	}
	for status, since := range oldest {
		collected <- prometheus.MustNewConstMetric(describeOldest(), prometheus.GaugeValue, time.Since(since).Seconds(), status)
	}
	return nil
}

func (c *counts) stuck(ctx context.Context, collected chan<- prometheus.Metric) error {
	if c.reconciler == nil {
		return nil
	}
	status, err := c.reconciler.Status(ctx)
	if err != nil {
		return fmt.Errorf("count stuck sessions: %w", err)
	}
	for state, count := range status.Stuck {
		gauge(collected, describeStuck(), count, state)
	}
	collected <- prometheus.MustNewConstMetric(describeLease(), prometheus.GaugeValue, one(status.Here))
	collected <- prometheus.MustNewConstMetric(describeHold(), prometheus.GaugeValue, one(status.Hold != ""))
	return nil
}

func one(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}

func gauge(collected chan<- prometheus.Metric, described *prometheus.Desc, count int, label string) {
	collected <- prometheus.MustNewConstMetric(described, prometheus.GaugeValue, float64(count), label)
}
