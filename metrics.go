package lethe

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A collector reads the counters of every part when it is asked. No label is
// about a person: pools, reasons and directions only.
type collector struct{ edge *edge }

var (
	metricOpen      = desc("lethe_gateway_connections", "Open connections.", "pool")
	metricOpened    = desc("lethe_gateway_connections_total", "Connections ever opened.", "pool")
	metricMessages  = desc("lethe_gateway_messages_total", "WebSocket messages that crossed.", "pool", "direction")
	metricBytes     = desc("lethe_gateway_bytes_total", "Bytes forwarded.", "pool", "direction")
	metricRefused   = desc("lethe_gateway_refused_total", "Connections refused.", "pool", "reason")
	metricClosed    = desc("lethe_gateway_closed_total", "Connections ended.", "pool", "reason")
	metricRecorded  = desc("lethe_records_durable_total", "Message records that are durable.")
	metricHanded    = desc("lethe_records_total", "Message records handed over for recording.")
	metricDiscarded = desc("lethe_records_discarded_total", "Message records of persons being erased, and of classes that a new policy left out.")
	metricLate      = desc("lethe_records_late_total", "Records whose bucket was past due.")
	metricEvents    = desc("lethe_events_total", "Events appended.")
	metricRetries   = desc("lethe_record_retries_total", "Batches that the log did not take at once.")
	metricWaits     = desc("lethe_record_waits_total", "Times that recording slowed a reader down.")
	metricWaiting   = desc("lethe_record_queue", "Chunks that wait to be recorded.")
	metricGaps      = desc("lethe_gaps_total", "Gaps in the record of a pool that lets traffic pass.", "pool")
	metricUnseen    = desc("lethe_unrecorded_connections_total", "Connections of which a gap has something.", "pool")
	metricMissed    = desc("lethe_unrecorded_messages_total", "Messages that crossed and are in a gap.", "pool")
	metricMissing   = desc("lethe_unrecorded_bytes_total", "Their payload bytes.", "pool")
	metricOwed      = desc("lethe_gaps_owed", "Gaps that are not in the log yet.")
	metricLag       = desc("lethe_view_lag_events", "Events that a view is behind the log.", "view")
	metricJournal   = desc("lethe_journal_lines", "Lines of the erasure journal.")
	metricDead      = desc("lethe_keys_destroyed", "Keys that the journal names as destroyed.")
	metricPending   = desc("lethe_outbox_pending_events", "Events that the log has not taken yet.")
	metricHeld      = desc("lethe_outbox_pending_bytes", "Their bytes.")
	metricOldest    = desc("lethe_outbox_oldest_seconds", "Age of the oldest of them.")
	metricShipped   = desc("lethe_outbox_shipped_total", "Events that stand in the log.")
	metricTooLate   = desc("lethe_outbox_late_total", "Events that came too late: their keys were destroyed meanwhile.", "written")
	metricUnsettled = desc("lethe_outbox_unknown_total", "Appends whose outcome was unknown at first.")
	metricApart     = desc("lethe_clock_apart_seconds", "How far the clock was ahead of the log's when they were last compared.")
	metricClock     = desc("lethe_clock_trusted", "1 while keys are issued and destroyed by the clock.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector; the collector is unchecked.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := sink(out)
	c.gateway(s)
	c.recording(s)
	c.ledger(s)
	c.shared(s)
}

type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) counter(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (c *collector) gateway(s sink) {
	for _, p := range c.edge.gateway.Snapshot() {
		s.gauge(metricOpen, float64(p.Open), p.Pool)
		s.counter(metricOpened, float64(p.Total), p.Pool)
		for d, name := range [...]string{"in", "out"} {
			s.counter(metricMessages, float64(p.Messages[d]), p.Pool, name)
			s.counter(metricBytes, float64(p.Bytes[d]), p.Pool, name)
		}
		for reason, n := range p.Refused {
			s.counter(metricRefused, float64(n), p.Pool, reason.String())
		}
		for reason, n := range p.Closed {
			s.counter(metricClosed, float64(n), p.Pool, reason.String())
		}
	}
}

func (c *collector) recording(s sink) {
	n, l := c.edge.recorder.Counts(), c.edge.recording.Counts()
	s.counter(metricHanded, float64(n.Messages.Load()))
	s.counter(metricRecorded, float64(n.Recorded.Load()))
	s.counter(metricDiscarded, float64(n.Discarded.Load()))
	s.counter(metricRetries, float64(n.Retries.Load()))
	s.counter(metricWaits, float64(n.Waits.Load()))
	s.gauge(metricWaiting, float64(c.edge.recorder.Waiting()))
	for _, m := range c.edge.recorder.Missing() {
		s.counter(metricGaps, float64(m.Gaps), m.Pool)
		s.counter(metricUnseen, float64(m.Connections), m.Pool)
		s.counter(metricMissed, float64(m.Messages), m.Pool)
		s.counter(metricMissing, float64(m.Bytes), m.Pool)
	}
	s.gauge(metricOwed, float64(c.edge.gaps.count()))
	s.counter(metricLate, float64(l.Late.Load()))
	s.counter(metricEvents, float64(l.Events.Load()))
}

// shared counts what only processes beyond one machine have.
func (c *collector) shared(s sink) {
	many := c.edge.lethe.shared
	if many == nil {
		return
	}
	stats, shipped := many.outbox.Stats(), many.relay.Counts()
	s.gauge(metricPending, float64(stats.Pending.Events))
	s.gauge(metricHeld, float64(stats.Pending.Bytes))
	s.gauge(metricOldest, many.behind().Seconds())
	if apart, known := many.times.Apart(); known {
		s.gauge(metricApart, apart.Seconds())
	}
	s.counter(metricShipped, float64(shipped.Shipped.Load()))
	s.counter(metricTooLate, float64(shipped.Dropped.Load()), "no")
	s.counter(metricTooLate, float64(shipped.Unsure.Load()), "unsure")
	s.counter(metricUnsettled, float64(shipped.Unknown.Load()))
}

func (c *collector) ledger(s sink) {
	l := c.edge.lethe
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if status, err := l.views.Positions(ctx); err == nil {
		for _, v := range status {
			s.gauge(metricLag, float64(v.Lag), v.Name)
		}
	}
	s.gauge(metricJournal, float64(l.journal.Lines()))
	s.gauge(metricDead, float64(l.ring.Dead.Len()))
	trusted := 0.0
	if l.clock.trusted() == nil {
		trusted = 1
	}
	s.gauge(metricClock, trusted)
}
