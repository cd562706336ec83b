package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/config/standard"
	"github.com/backplane/leptir/internal/sqlitedb"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/task"
)

// Kinds of back ends.
const (
	Redis   = "redis"
	SQLite  = "sqlite"
	MongoDB = "mongodb"
)

// Setup says how a host is configured. Leases, records, retries and log are always on.
type Setup struct {
	Backend string // of queue and records
	Workers int    // 0: 4
	Fresh   bool   // a process for each task
	Spares  int    // idle processes that are kept ready; 0: the default; below: none
	Cold    int    // more queues beside the one that is used, all of them empty
	Lease   time.Duration
	// KeepProcesses lets a process run any number of tasks, where the default replaces it
	// after a thousand.
	KeepProcesses bool
	// Socket is handed to the plugin, see work.Stamp.
	Socket string
	// Synchronous is that setting of SQLite.
	Synchronous string
}

// patience bounds waits for what should take a moment.
const patience = 30 * time.Second

// Host is a running leptir-host with handles of its own on its queue and its records.
type Host struct {
	*Process
	Queue  brokers.Broker
	Store  metastore.Store
	LogAt  string // its log file
	Config string // its configuration file
	rig    *Rig
	dir    string
	file   *sqlitedb.DB // of a queue in SQLite
	others []io.Closer
}

// Configuration returns a host's configuration file for the folder dir.
func (r *Rig) configuration(s Setup, dir string) (string, error) {
	var b strings.Builder
	if s.Workers == 0 {
		s.Workers = 4
	}
	fmt.Fprintf(&b, "host {\n  number_of_workers = %d\n  plugin_dir = \"plugins\"\n  state_dir = \"state\"\n  max_attempts = 5\n", s.Workers)
	if s.Lease > 0 {
		fmt.Fprintf(&b, "  lease_time = %q\n", s.Lease)
	}
	b.WriteString("}\nlogger \"file\" \"log\" {\n  path = \"host.log\"\n}\n")
	redis := func(db int, more string) string {
		return fmt.Sprintf("  connection {\n    host = %q\n    port = %d\n    database = %d\n%s  }\n", r.server.Host, r.server.Port, db, more)
	}
	for i := range s.Cold + 1 {
		fmt.Fprintf(&b, "broker %q \"b%d\" {\n", s.Backend, i)
		if err := backend(&b, r, s, func() string { return redis(LeptirDB, fmt.Sprintf("    key = \"bench%d\"\n", i)) },
			fmt.Sprintf("b%d.db", i), filepath.Base(dir)+fmt.Sprintf("b%d", i)); err != nil {
			return "", err
		}
	}
	fmt.Fprintf(&b, "meta_storage %q \"records\" {\n", s.Backend)
	if err := backend(&b, r, s, func() string { return redis(RecordsDB, "") }, "b0.db", filepath.Base(dir)+"r"); err != nil {
		return "", err
	}
	b.WriteString("plugin \"benchplugin\" {\n")
	if s.Fresh {
		b.WriteString("  isolation = \"fresh\"\n")
	}
	if s.KeepProcesses {
		b.WriteString("  max_tasks = 0\n")
	}
	if s.Spares != 0 {
		fmt.Fprintf(&b, "  spares = %d\n", max(0, s.Spares))
	}
	if s.Socket != "" {
		fmt.Fprintf(&b, "  environment = { LEPTIR_BENCH_SOCKET = %q }\n", s.Socket)
	}
	b.WriteString("}\n")
	return b.String(), nil
}

// backend writes the rest of a broker's or a meta storage's block.
func backend(b *strings.Builder, r *Rig, s Setup, redis func() string, file, database string) error {
	switch s.Backend {
	case Redis:
		b.WriteString(redis())
	case SQLite:
		fmt.Fprintf(b, "  path = %q\n", file)
		if s.Synchronous != "" {
			fmt.Fprintf(b, "  synchronous = %q\n", s.Synchronous)
		}
	case MongoDB:
		uri, err := r.mongoURI()
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "  connection {\n    uri = %q\n    database = %q\n  }\n", uri, database)
	}
	b.WriteString("}\n")
	return nil
}

// Prepare writes a host's folder and opens its queue and its records; Start starts the
// process.
func (r *Rig) Prepare(ctx context.Context, s Setup) (h *Host, err error) {
	h = &Host{rig: r}
	defer func() {
		if err != nil {
			h.Close()
			h = nil
		}
	}()
	if h.dir, err = r.Folder("host"); err != nil {
		return h, err
	}
	if err = os.Mkdir(filepath.Join(h.dir, "plugins"), 0o700); err != nil {
		return h, err
	}
	binary, err := os.ReadFile(r.Plugin)
	if err != nil {
		return h, err
	}
	if err = os.WriteFile(filepath.Join(h.dir, "plugins", "benchplugin"), binary, 0o700); err != nil {
		return h, err
	}
	text, err := r.configuration(s, h.dir)
	if err != nil {
		return h, err
	}
	return h, h.open(ctx, text, s.Backend)
}

// open writes the configuration file and opens the queue and the records that it names.
func (h *Host) open(ctx context.Context, text, backend string) error {
	h.Config = filepath.Join(h.dir, "leptir.hcl")
	h.LogAt = filepath.Join(h.dir, "host.log")
	if err := os.WriteFile(h.Config, []byte(text), 0o600); err != nil {
		return err
	}
	cfg, err := config.Load(h.Config, standard.Kinds())
	if err != nil {
		return err
	}
	queues, err := cfg.OpenBrokers(ctx, nil)
	if err != nil {
		return err
	}
	for _, b := range queues {
		h.others = append(h.others, b.Handle)
	}
	h.Queue = queues[0].Handle
	stores, err := cfg.OpenStores(ctx, nil)
	if err != nil {
		return err
	}
	for _, st := range stores {
		h.others = append(h.others, st.Handle)
	}
	h.Store = stores[0].Handle
	if backend == SQLite {
		return h.openFile(ctx)
	}
	return nil
}

// Start starts the host's process, also anew after Kill.
func (h *Host) Start() (err error) {
	h.Process, err = StartProcess(h.dir, nil, h.rig.Host, "-config", h.Config)
	return err
}

// Close ends the host's process, if it runs, and lets go of its folder and handles. The
// error says what went wrong in the host.
func (h *Host) Close() error {
	var err error
	if h.Process != nil {
		err = h.Stop(patience)
		if err != nil {
			log, _ := os.ReadFile(h.LogAt)
			err = fmt.Errorf("%w; its log ends: %s", err, log[max(0, len(log)-2000):])
		}
	}
	for _, c := range h.others {
		err = errors.Join(err, c.Close())
	}
	if h.dir != "" {
		err = errors.Join(err, os.RemoveAll(h.dir))
	}
	return err
}

// pushAtOnce is how many tasks go into one push.
const pushAtOnce = 1000

// Push pushes n tasks with the same parameters and returns their ids.
func (h *Host) Push(ctx context.Context, typ string, params []byte, n int) (ids []task.ID, err error) {
	ids = make([]task.ID, 0, n)
	for n > 0 {
		batch := make([]task.Task, min(n, pushAtOnce))
		now := time.Now().UTC()
		for i := range batch {
			batch[i] = task.Task{ID: task.NewID(), Type: typ, Params: params, PushedAt: now}
			ids = append(ids, batch[i].ID)
		}
		if err := h.Queue.Push(ctx, batch); err != nil {
			return nil, err
		}
		n -= len(batch)
	}
	return ids, nil
}

// Remaining counts the tasks that are not settled.
func (h *Host) Remaining(ctx context.Context) (int64, error) {
	s, err := h.Queue.Stats(ctx)
	if err == nil && s.Dead > 0 {
		err = fmt.Errorf("%d tasks have failed", s.Dead)
	}
	return s.Ready + s.Scheduled + s.Leased, err
}

// Hold keeps the host from leasing anything, Go lets it.
func (h *Host) Hold(ctx context.Context) error {
	p, ok := brokers.Ability[brokers.Pauser](h.Queue)
	if !ok {
		return errors.New("this broker cannot be paused")
	}
	return p.Pause(ctx)
}

// Go ends what Hold has begun.
func (h *Host) Go(ctx context.Context) error {
	p, ok := brokers.Ability[brokers.Pauser](h.Queue)
	if !ok {
		return errors.New("this broker cannot be paused")
	}
	return p.Resume(ctx)
}

// checkAtMost is how many records are looked at in the end.
const checkAtMost = 2000

// CheckRecords looks at the records of tasks, at a sample where they are many: every one
// must be there and say that its task has succeeded.
func (h *Host) CheckRecords(ctx context.Context, ids []task.ID) error {
	step := max(1, len(ids)/checkAtMost)
	var sample []task.ID
	for i := 0; i < len(ids); i += step {
		sample = append(sample, ids[i])
	}
	records, err := h.Store.Get(ctx, sample)
	if err != nil {
		return err
	}
	good := 0
	for _, r := range records {
		if r.Status == task.Completed && r.RetC == task.Success {
			good++
		}
	}
	if good != len(sample) {
		return fmt.Errorf("of %d tasks %d have a record of success", len(sample), good)
	}
	return nil
}
