package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/backplane/leptir/host/admin"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/dispatch"
	"github.com/backplane/leptir/host/logging"
	"github.com/backplane/leptir/internal/version"
)

// openAdmin begins to serve those who look after the host. The socket file that nobody has
// asked for is not worth a host that does not start: another host of the same state folder
// may have it.
func (h *Host) openAdmin(ctx context.Context) error {
	h.metrics.Read(h.readings())
	address := h.cfg.Admin.Address
	if address == config.AdminOff {
		return nil
	}
	own := h.cfg.Admin == config.DefaultAdmin(h.cfg.Host)
	if socket := h.cfg.Admin.Socket(); socket != "" && !own {
		if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
			return err
		}
	}
	server, err := admin.Open(ctx, admin.Options{Address: address, Logger: h.logger, Alive: h.Alive, Stopping: h.isStopping,
		Polls: h.polls, Accounts: h.accounts, Status: func() any { return h.adminStatus() }, Metrics: h.metrics})
	switch {
	case err == nil:
		h.admin = server
		h.logger.Info("health, metrics and status are served", "address", server.Addr().String())
	case own && errors.Is(err, admin.ErrInUse):
		h.logger.Info("health, metrics and status are not served: another host of the same state folder serves its own there; give this one an address in its admin block")
	case own:
		h.logger.Warn("health, metrics and status are not served; an address in the admin block helps", "error", err)
	default:
		return err
	}
	return nil
}

func (h *Host) closeAdmin() {
	if h.admin != nil {
		h.admin.Close()
	}
}

func (h *Host) isStopping() bool { return h.draining.Load() }

// polls returns how the brokers stand.
func (h *Host) polls(ctx context.Context, silent time.Duration) (all []admin.Poll) {
	h.dispatch.Refresh(ctx, silent)
	for _, s := range h.dispatch.Status() {
		all = append(all, admin.Poll{Broker: s.Name, Last: s.LastPoll, Problem: s.Problem})
	}
	return all
}

// accounts returns what the parts of the host count.
func (h *Host) accounts() admin.Accounts {
	p := h.pool.Accounts()
	return admin.Accounts{Workers: p.Workers, Running: p.Running, PoolJobs: p.Jobs, DispatchJobs: h.dispatch.InPool(),
		Leases: h.dispatch.Held(), PoolProcesses: p.Processes, AliveProcesses: h.launcher.Working()}
}

// adminStatus is what the host shows of itself.
type adminStatus struct {
	Host     string    `json:"host"`
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Stopping bool      `json:"stopping"`
	Status
	Stores   []dispatch.StoreStatus `json:"meta_storages"`
	Accounts admin.Accounts         `json:"accounts"`
}

func (h *Host) adminStatus() adminStatus {
	return adminStatus{Host: h.cfg.Host.Name, Version: version.String(), PID: os.Getpid(), Started: h.started.UTC(), Stopping: h.isStopping(),
		Status: h.Status(), Stores: h.dispatch.Stores(), Accounts: h.accounts()}
}

// readings are what the metrics read.
func (h *Host) readings() admin.Readings {
	return admin.Readings{
		Accounts: h.accounts,
		Depths: func(ctx context.Context) (all []admin.Depth) {
			for _, d := range h.dispatch.Depths(ctx) {
				all = append(all, admin.Depth{Broker: d.Broker, Stats: d.Stats, Err: d.Err})
			}
			return all
		},
		Processes: func() (all []admin.Processes) {
			for _, p := range h.pool.Status().Plugins {
				all = append(all, admin.Processes{Plugin: p.Name, Busy: p.Busy, Idle: p.Idle, Starting: p.Starting, Broken: p.Problem != ""})
			}
			return all
		},
		Waiting: func() int { return h.pool.Status().Waiting },
		Brokers: func() (all []admin.BrokerReading) {
			for _, s := range h.dispatch.Status() {
				all = append(all, admin.BrokerReading{Name: s.Name, Held: s.Held, LastPoll: s.LastPoll})
			}
			return all
		},
		Stores: func() (all []admin.StoreReading) {
			for _, s := range h.dispatch.Stores() {
				all = append(all, admin.StoreReading{Name: s.Name, Waiting: s.Waiting, Dropped: s.Dropped, Failures: s.Failures})
			}
			return all
		},
		Reports: func() (all []admin.ReportReading) {
			for _, r := range h.reports.Stats() {
				all = append(all, admin.ReportReading{Name: r.Name, Sent: r.Sent, Failed: r.Failed, Dropped: r.Dropped})
			}
			return all
		},
		LogLines: func() uint64 { return logging.Lost(h.logger) },
	}
}
