package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/streamspace/streamspace/services"
)

// dispatch shows what the dispatcher counts.
type dispatch struct {
	dispatcher *services.CommandDispatcher
	registered []dispatchMetric
}

// dispatchMetric is one of the dispatcher's counts.
type dispatchMetric struct {
	described *prometheus.Desc
	kind      prometheus.ValueType
	value     func(services.DispatcherStats) float64
}

func describeDispatch() []dispatchMetric {
	metric := func(name, help string, kind prometheus.ValueType, value func(services.DispatcherStats) float64) dispatchMetric {
		return dispatchMetric{prometheus.NewDesc("streamspace_dispatch_"+name, help, nil, nil), kind, value}
	}
	return []dispatchMetric{
		metric("in_flight", "Commands that were sent and are not acknowledged.", prometheus.GaugeValue,
			func(s services.DispatcherStats) float64 { return float64(s.InFlight) }),
		metric("unwritten", "Commands with news that is not in the database yet.", prometheus.GaugeValue,
			func(s services.DispatcherStats) float64 { return float64(s.Unwritten) }),
		metric("sent_total", "First sends of commands.", prometheus.CounterValue,
			func(s services.DispatcherStats) float64 { return float64(s.Sent) }),
		metric("redelivered_total", "Further sends of commands.", prometheus.CounterValue,
			func(s services.DispatcherStats) float64 { return float64(s.Resent) }),
		metric("acknowledged_total", "Commands that agents have acknowledged.", prometheus.CounterValue,
			func(s services.DispatcherStats) float64 { return float64(s.Acknowledged) }),
		metric("completed_total", "Commands that were completed.", prometheus.CounterValue,
			func(s services.DispatcherStats) float64 { return float64(s.Completed) }),
		metric("failed_total", "Commands that failed, those past their deadline included.", prometheus.CounterValue,
			func(s services.DispatcherStats) float64 { return float64(s.Failed) }),
		metric("timed_out_total", "Commands that failed at their deadline.", prometheus.CounterValue,
			func(s services.DispatcherStats) float64 { return float64(s.TimedOut) }),
		metric("batches_total", "Transactions that wrote what became of commands.", prometheus.CounterValue,
			func(s services.DispatcherStats) float64 { return float64(s.Batches) }),
		metric("batch_commands_total", "Commands in those transactions; divided by their number, the size of a batch.", prometheus.CounterValue,
			func(s services.DispatcherStats) float64 { return float64(s.BatchRows) }),
		metric("batch_failures_total", "Such transactions that failed and were repeated.", prometheus.CounterValue,
			func(s services.DispatcherStats) float64 { return float64(s.BatchFailures) }),
	}
}

// Describe implements prometheus.Collector.
func (d *dispatch) Describe(described chan<- *prometheus.Desc) {
	for _, metric := range d.registered {
		described <- metric.described
	}
}

// Collect implements prometheus.Collector.
func (d *dispatch) Collect(collected chan<- prometheus.Metric) {
	stats := d.dispatcher.Stats()
	for _, metric := range d.registered {
		collected <- prometheus.MustNewConstMetric(metric.described, metric.kind, metric.value(stats))
	}
}
