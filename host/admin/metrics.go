package admin

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/cancel"
	"github.com/backplane/leptir/internal/version"
	"github.com/backplane/leptir/task"
)

const (
	// maxTypes bounds the task types that have metrics of their own: types are the
	// producers' to choose. Those that come later share the label otherType.
	maxTypes  = 200
	otherType = "(other)"
	// depthsFor is how long the brokers' counts are good for: some of them charge for being
	// asked, and several may scrape.
	depthsFor = 10 * time.Second
	// depthsTime bounds the counting.
	depthsTime = 3 * time.Second
)

// Readings are what the metrics read when somebody asks for them.
type Readings struct {
	Accounts func() Accounts
	// Depths counts the brokers' tasks, until ctx ends.
	Depths func(ctx context.Context) []Depth
	// Processes returns the processes of each plugin.
	Processes func() []Processes
	// Waiting returns how many tasks wait in the host for a process.
	Waiting func() int
	Brokers func() []BrokerReading
	Stores  func() []StoreReading
	Reports func() []ReportReading
	// LogLines returns how many log lines were lost.
	LogLines func() uint64
}

// Depth is how many tasks a broker holds, or why that is not known.
type Depth struct {
	Broker string
	Stats  brokers.Stats
	Err    error
}

// Processes are those of one plugin.
type Processes struct {
	Plugin               string
	Busy, Idle, Starting int
	Broken               bool // they do not come up
}

// BrokerReading is one broker as the host sees it.
type BrokerReading struct {
	Name     string
	Held     int
	LastPoll time.Time
}

// StoreReading is one meta storage as the host sees it.
type StoreReading struct {
	Name                       string
	Waiting, Dropped, Failures int64
}

// ReportReading is one error reporter.
type ReportReading struct {
	Name                  string
	Sent, Failed, Dropped uint64
}

// Metrics counts what the host tells it, and reads the rest when it is asked. It is safe for
// concurrent use, and is a dispatch.Meter.
type Metrics struct {
	registry *prometheus.Registry
	readings Readings

	attempts      *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
	leasesLost    *prometheus.CounterVec
	disagreement  *prometheus.GaugeVec
	disagreements *prometheus.CounterVec

	known sync.Map // attempt → *series: looking it up there is cheaper than by labels
	types sync.Map // of string: those that have metrics of their own
	mu    sync.Mutex
	count int // of types

	depthsMu sync.Mutex
	depths   []Depth
	depthsAt time.Time
}

// attempt is what attempts that are counted together have in common.
type attempt struct {
	taskType, result, exit, next string
}

type series struct {
	count   prometheus.Counter
	seconds prometheus.Observer
}

// NewMetrics returns metrics in a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m.attempts = counter("leptir_attempts_total", "Attempts at tasks that have ended, by type, result (the return code in words), exit (how the process ended with it, none if it lives on) and what comes next (done, retry, dead, cancelled).",
		"type", "result", "exit", "next")
	m.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "leptir_attempt_seconds", Help: "How long attempts ran.",
		Buckets: []float64{.0001, .001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200}}, []string{"type"})
	m.leasesLost = counter("leptir_leases_lost_total", "Leases that were lost while this host had the task.", "broker")
	m.disagreement = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "leptir_disagreement",
		Help: "1 while two of the host's accounts have disagreed for some time, which they should never do."}, []string{"between"})
	m.disagreements = counter("leptir_disagreements_total", "How often two of the host's accounts began to disagree for some time.", "between")
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "leptir_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version.String()}})
	build.Set(1)
	m.registry.MustRegister(m.attempts, m.seconds, m.leasesLost, m.disagreement, m.disagreements, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Read sets where the metrics read from; it is called once, before anybody asks for them.
func (m *Metrics) Read(r Readings) {
	m.readings = r
	m.registry.MustRegister(reader{m})
}

// Ended implements dispatch.Meter.
func (m *Metrics) Ended(rec *task.Record) {
	a := attempt{taskType: m.label(rec.Type), result: rec.RetC.String(), exit: "none", next: "done"}
	if rec.Run.Exit != nil {
		a.exit = rec.Run.Exit.Reason
	}
	switch {
	case cancel.Was(*rec):
		a.next = "cancelled"
	case !rec.Run.Retry.IsZero():
		a.next = "retry"
	case rec.RetC.Failed():
		a.next = "dead"
	}
	s, ok := m.known.Load(a)
	if !ok {
		s, _ = m.known.LoadOrStore(a, &series{m.attempts.WithLabelValues(a.taskType, a.result, a.exit, a.next), m.seconds.WithLabelValues(a.taskType)})
	}
	s.(*series).count.Inc()
	if !rec.ExStart.IsZero() {
		s.(*series).seconds.Observe(rec.ExTime)
	}
}

// LeaseLost implements dispatch.Meter.
func (m *Metrics) LeaseLost(broker string) { m.leasesLost.WithLabelValues(broker).Inc() }

// label returns a type as the value of a label.
func (m *Metrics) label(taskType string) string {
	if _, known := m.types.Load(taskType); known {
		return taskType
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if task.ValidateType(taskType) != nil || m.count >= maxTypes {
		return otherType
	}
	if _, known := m.types.LoadOrStore(taskType, nil); !known {
		m.count++
	}
	return taskType
}

// depthsNow returns the brokers' counts, a few seconds old at most.
func (m *Metrics) depthsNow() []Depth {
	m.depthsMu.Lock()
	defer m.depthsMu.Unlock()
	if time.Since(m.depthsAt) >= depthsFor {
		ctx, cancel := context.WithTimeout(context.Background(), depthsTime)
		defer cancel()
		m.depths = m.readings.Depths(ctx)
		m.depthsAt = time.Now()
	}
	return m.depths
}
