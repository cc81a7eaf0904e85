package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// Convergence measures how long sessions take to leave states that should pass.
// Safe for concurrent use.
type Convergence struct{ seconds *prometheus.HistogramVec }

// NewConvergence makes a Convergence, which db.Options.SessionPassed is to tell.
func NewConvergence() *Convergence {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "streamspace_sessions_converge_seconds",
		Help:    "Time that sessions took to leave a state that should pass, as written by this process, by that state.",
		Buckets: prometheus.ExponentialBuckets(0.05, 2.5, 13),
	}, []string{"state"})
	for _, state := range passingStates() {
		seconds.WithLabelValues(string(state))
	}
	return &Convergence{seconds}
}

func passingStates() []models.SessionState {
	return []models.SessionState{models.SessionPending, models.SessionHibernating, models.SessionWaking, models.SessionTerminating}
}

// Passed notes that a session has left a state.
func (c *Convergence) Passed(from, _ models.SessionState, took time.Duration) {
	c.seconds.WithLabelValues(string(from)).Observe(max(0, took).Seconds())
}

// reconciling shows what the reconciler and inventories set right.
type reconciling struct {
	reconciler *services.SessionReconciler
	dispatcher *services.CommandDispatcher
}

func describeRetries() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_reconciler_retries_total", "Commands of stuck sessions that were sent again or issued anew, by the sessions' state.", []string{"state"}, nil)
}

func describeForcedEnds() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_reconciler_forced_ends_total",
		"Sessions that were ended, or placed anew, without their agent's word, by the reason's code.", []string{"code"}, nil)
}

func describePasses() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_reconciler_pass_seconds", "Looks at all stuck sessions, and the time they took.", nil, nil)
}

func describeOrphans() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_orphans_stopped_total", "Runtimes that should not run, each time that their agent was told to stop them.", nil, nil)
}

func describeLost() *prometheus.Desc {
	return prometheus.NewDesc("streamspace_sessions_lost_total", "Sessions that their agent did not have any more, by what became of them.", []string{"outcome"}, nil)
}

// Describe implements prometheus.Collector.
func (c *reconciling) Describe(described chan<- *prometheus.Desc) {
	described <- describeRetries()
	described <- describeForcedEnds()
	described <- describePasses()
	described <- describeOrphans()
	described <- describeLost()
}

// Collect implements prometheus.Collector. What has never happened is 0, for
// alarms to see the first time.
func (c *reconciling) Collect(collected chan<- prometheus.Metric) {
	counter := func(described *prometheus.Desc, count uint64, labels ...string) {
		collected <- prometheus.MustNewConstMetric(described, prometheus.CounterValue, float64(count), labels...)
	}
	stats, dispatched := c.reconciler.Stats(), c.dispatcher.Stats()
	for _, state := range passingStates() {
		counter(describeRetries(), stats.Retries[state], string(state))
	}
	for _, code := range []models.ErrorCode{models.CodeAgentUnavailable, models.CodeCommandTimeout, models.CodeInternal} {
		counter(describeForcedEnds(), stats.ForcedEnds[code], string(code))
		delete(stats.ForcedEnds, code)
	}
	for code, count := range stats.ForcedEnds {
		counter(describeForcedEnds(), count, string(code))
	}
	collected <- prometheus.MustNewConstSummary(describePasses(), stats.Passes, stats.PassSeconds, nil)
	counter(describeOrphans(), dispatched.Orphans)
	for outcome, count := range dispatched.Lost {
		counter(describeLost(), count, string(outcome))
	}
}
