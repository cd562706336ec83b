package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/logging"
)

// logs is the host's logger with the sinks behind it.
type logs struct {
	logger     *slog.Logger
	sinks      *logging.Sinks
	background bool
	open       []openLog
}

// openLog is a logger block and its sink.
type openLog struct {
	config.Logger
	sink logging.Sink
}

// openLogs opens the sinks of the blocks. Those that belong to a terminal are left out in
// the background.
func openLogs(blocks []config.Logger, background bool) (*logs, error) {
	l := &logs{background: background}
	open, err := l.prepare(blocks)
	if err != nil {
		return nil, err
	}
	l.open = open
	l.logger, l.sinks = logging.New(sinksOf(open)...)
	return l, nil
}

// prepare opens the sinks of the blocks that are new or have changed. On an error nothing
// that it has opened stays open.
func (l *logs) prepare(blocks []config.Logger) (next []openLog, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, l.drop(next))
		}
	}()
	for _, block := range blocks {
		if _, foreground := block.Settings.(logging.Foreground); foreground && l.background {
			continue
		}
		if old, ok := l.same(block); ok {
			next = append(next, old)
			continue
		}
		sink, err := block.Settings.Open(context.Background())
		if err != nil {
			return next, fmt.Errorf("logger %q: %w", block.Name, err)
		}
		next = append(next, openLog{block, sink})
	}
	return next, nil
}

// same returns the open log of a block that has not changed.
func (l *logs) same(block config.Logger) (openLog, bool) {
	for _, o := range l.open {
		if reflect.DeepEqual(o.Logger, block) {
			return o, true
		}
	}
	return openLog{}, false
}

// drop closes what prepare has opened and is not used.
func (l *logs) drop(next []openLog) error {
	var errs []error
	for _, n := range next {
		if _, ok := l.same(n.Logger); !ok {
			errs = append(errs, n.sink.Close())
		}
	}
	return errors.Join(errs...)
}

// use takes what prepare has returned into use.
func (l *logs) use(next []openLog) error {
	l.open = next
	return l.sinks.Replace(sinksOf(next)...)
}

func sinksOf(open []openLog) []logging.Sink {
	sinks := make([]logging.Sink, len(open))
	for i, o := range open {
		sinks[i] = o.sink
	}
	return sinks
}
