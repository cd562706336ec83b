package admin

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reader is the collector of what is read when somebody asks.
type reader struct{ m *Metrics }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descTasks     = desc("leptir_queue_tasks", "Tasks in the broker by state: ready, scheduled (parked ones included), leased, dead, parked. A few seconds old.", "broker", "state")
	descPaused    = desc("leptir_queue_paused", "1 while the queue is paused.", "broker")
	descUp        = desc("leptir_broker_up", "1 if the broker has answered when it was last asked for its counts.", "broker")
	descPoll      = desc("leptir_broker_last_poll_seconds", "How long ago the broker last answered this host, whatever it was asked.", "broker")
	descHeld      = desc("leptir_leases_held", "Tasks that this host has leased and not settled.", "broker")
	descWorkers   = desc("leptir_workers", "The most tasks that run at once.")
	descBusy      = desc("leptir_workers_busy", "Processes that have tasks.")
	descJobs      = desc("leptir_tasks_waiting", "Tasks that are in the host and wait for a process.")
	descProcesses = desc("leptir_processes", "Plugin processes by state: busy, idle, starting.", "plugin", "state")
	descAlive     = desc("leptir_processes_alive", "Plugin processes that were started to run tasks and have not been reaped.")
	descBroken    = desc("leptir_plugin_broken", "1 while the plugin's processes do not come up.", "plugin")
	descWaiting   = desc("leptir_records_waiting", "Records that are not written yet.", "store")
	descDropped   = desc("leptir_records_dropped_total", "Records that were dropped.", "store")
	descFailures  = desc("leptir_record_write_failures_total", "Failed writes to the meta storage; each is tried again.", "store")
	descReports   = desc("leptir_reports_total", "Error reports by what became of them: sent, failed, dropped.", "reporter", "result")
	descLines     = desc("leptir_log_lines_lost_total", "Log lines that could not be written.")
)

// Describe implements prometheus.Collector.
func (reader) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descTasks, descPaused, descUp, descPoll, descHeld, descWorkers, descBusy, descJobs, descProcesses,
		descAlive, descBroken, descWaiting, descDropped, descFailures, descReports, descLines} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (r reader) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels []string) {
		for i := range labels { // a plugin's file can have any name
			labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
		}
		metric, err := prometheus.NewConstMetric(d, kind, v, labels...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(d, err)
		}
		ch <- metric
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) { send(d, prometheus.GaugeValue, v, labels) }
	counter := func(d *prometheus.Desc, v float64, labels ...string) { send(d, prometheus.CounterValue, v, labels) }
	from := r.m.readings
	for _, d := range r.m.depthsNow() {
		gauge(descUp, truth(d.Err == nil), d.Broker)
		if d.Err != nil {
			continue
		}
		for state, n := range map[string]int64{"ready": d.Stats.Ready, "scheduled": d.Stats.Scheduled, "leased": d.Stats.Leased,
			"dead": d.Stats.Dead, "parked": d.Stats.Parked} {
			gauge(descTasks, float64(n), d.Broker, state)
		}
		gauge(descPaused, truth(d.Stats.Paused), d.Broker)
	}
	for _, b := range from.Brokers() {
		gauge(descHeld, float64(b.Held), b.Name)
		if !b.LastPoll.IsZero() {
			gauge(descPoll, time.Since(b.LastPoll).Seconds(), b.Name)
		}
	}
	a := from.Accounts()
	gauge(descWorkers, float64(a.Workers))
	gauge(descBusy, float64(a.Running))
	gauge(descAlive, float64(a.AliveProcesses))
	gauge(descJobs, float64(from.Waiting()))
	for _, p := range from.Processes() {
		gauge(descProcesses, float64(p.Busy), p.Plugin, "busy")
		gauge(descProcesses, float64(p.Idle), p.Plugin, "idle")
		gauge(descProcesses, float64(p.Starting), p.Plugin, "starting")
		gauge(descBroken, truth(p.Broken), p.Plugin)
	}
	for _, s := range from.Stores() {
		gauge(descWaiting, float64(s.Waiting), s.Name)
		counter(descDropped, float64(s.Dropped), s.Name)
		counter(descFailures, float64(s.Failures), s.Name)
	}
	for _, p := range from.Reports() {
		counter(descReports, float64(p.Sent), p.Name, "sent")
		counter(descReports, float64(p.Failed), p.Name, "failed")
		counter(descReports, float64(p.Dropped), p.Name, "dropped")
	}
	counter(descLines, float64(from.LogLines()))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
