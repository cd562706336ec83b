// Package lograte bounds what one plugin process may put into its host's log, so that a
// flood from one plugin neither fills a disk nor drowns what the others have to say. It
// counts lines and bytes; what they say and where they go it does not know.
package lograte

import (
	"fmt"
	"time"
)

const (
	// Rate and Burst are how much may be logged, in bytes per second and at once.
	Rate  = 256 << 10
	Burst = 1 << 20
	// lineCost is what a line costs on top of its bytes: an empty one fills a log, too.
	lineCost = 64
	// fullBytes is how much is left at most when nothing is said to be: as much as a long
	// line, so that a flood of lines of any length shows.
	fullBytes = 8 << 10
)

// Limiter is the allowance of one process. The zero value is a full one. It is not safe
// for concurrent use.
type Limiter struct {
	spent      float64 // bytes of the burst that have not been earned back yet
	last       time.Time
	suppressed int
}

// Allow reports whether a line of so many bytes may be logged now. One that may not is
// counted.
func (l *Limiter) Allow(size int, now time.Time) bool {
	l.earn(now)
	cost := float64(size + lineCost)
	if l.spent+cost > Burst {
		l.Suppress()
		return false
	}
	l.spent += cost
	return true
}

func (l *Limiter) earn(now time.Time) {
	if since := now.Sub(l.last).Seconds(); !l.last.IsZero() && since > 0 { // clocks are set back, too
		l.spent = max(0, l.spent-since*Rate)
	}
	l.last = now
}

// Full reports whether hardly a line may be logged now: one of fullBytes may not.
func (l *Limiter) Full(now time.Time) bool {
	l.earn(now)
	return l.spent+fullBytes > Burst
}

// Suppress counts a line that was not logged for another reason.
func (l *Limiter) Suppress() { l.suppressed++ }

// SuppressMany counts so many lines that were not even looked at.
func (l *Limiter) SuppressMany(n int) { l.suppressed += n }

// Notice returns a text about the lines that have been suppressed since Told was called,
// "" if there are none.
func (l *Limiter) Notice() string {
	if l.suppressed == 0 {
		return ""
	}
	return fmt.Sprintf("(%d lines dropped: more than %d KiB/s)", l.suppressed, Rate>>10)
}

// Told says that the notice has been logged.
func (l *Limiter) Told() { l.suppressed = 0 }
