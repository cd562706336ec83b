package logging

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

const (
	// journalPrefix stands before the names of the fields that attributes become, so that
	// what a task logs cannot be taken for a field that means something to the journal.
	journalPrefix = "LEPTIR_"
	// journalName is the length of the longest name of a field that the journal takes.
	journalName = 64
	// A journal that is down is tried again after this pause.
	journalRetry = 200 * time.Millisecond
)

// JournalSettings configures a sink on the systemd journal.
type JournalSettings struct {
	Tag string `config:"tag" doc:"The name of the program in the lines (SYSLOG_IDENTIFIER)."`
	Lines
}

// Validate reports a tag that cannot be used.
func (s *JournalSettings) Validate() error { return validTag(s.Tag) }

// Open returns the sink. The journal must be there.
func (s *JournalSettings) Open(context.Context) (Sink, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	h, err := s.handler()
	if err != nil {
		return nil, err
	}
	if !journal.Enabled() {
		return nil, errors.New("journal: this machine has no systemd journal, or it is not running")
	}
	h.bare, h.apart = true, true
	return newQueued(h, journalWriter{tag: s.Tag}, "journal"), nil
}

// journalWriter sends lines to the journal, with their attributes as fields.
type journalWriter struct{ tag string }

func (w journalWriter) write(ctx context.Context, e entry) error {
	fields := map[string]string{"SYSLOG_IDENTIFIER": w.tag}
	for key, value := range e.attrs {
		fields[fieldName(key)] = value
	}
	message := string(bytes.TrimSuffix(e.line, []byte("\n")))
	for {
		err := journal.Send(message, journal.Priority(severity(e.level)), fields)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(journalRetry):
		}
	}
}

func (w journalWriter) close() error { return nil }

// fieldName makes the name of a field of an attribute's key.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	name = journalPrefix + name
	return name[:min(len(name), journalName)]
}
