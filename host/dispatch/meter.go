package dispatch

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// Meter is told of what operators want counted. Its methods are called by many goroutines
// and must not block.
type Meter interface {
	// Ended tells of an attempt's end, by its record, which must not be changed or kept.
	Ended(rec *task.Record)
	// LeaseLost tells that a lease of a broker was lost.
	LeaseLost(broker string)
}

type noMeter struct{}

func (noMeter) Ended(*task.Record) {}
func (noMeter) LeaseLost(string)   {}

// Refresh asks the brokers that have not been heard of for so long whether they answer, all
// at once, until ctx ends. Status tells what came of it.
func (d *Dispatcher) Refresh(ctx context.Context, silent time.Duration) {
	var wg sync.WaitGroup
	for _, s := range d.sources {
		if time.Since(s.status().LastPoll) < silent {
			continue
		}
		wg.Go(func() {
			_, err := s.Broker.Broker.Stats(ctx)
			s.heardWithin(err)
		})
	}
	wg.Wait()
}

// heardWithin takes in how a count went for which somebody had little time: to be too slow
// for that is no failure.
func (s *source) heardWithin(err error) {
	if !errors.Is(err, context.DeadlineExceeded) {
		s.heard("count its tasks", err)
	}
}

// Depth is how many tasks a broker holds.
type Depth struct {
	Broker string
	brokers.Stats
	Err error
}

// Depths counts the brokers' tasks, all at once, until ctx ends.
func (d *Dispatcher) Depths(ctx context.Context) []Depth {
	all := make([]Depth, len(d.sources))
	var wg sync.WaitGroup
	for i, s := range d.sources {
		wg.Go(func() {
			all[i].Broker = s.Name
			all[i].Stats, all[i].Err = s.Broker.Broker.Stats(ctx)
			s.heardWithin(all[i].Err)
		})
	}
	wg.Wait()
	return all
}
