package pool

import (
	"time"

	"github.com/backplane/leptir/internal/pluginpb"
)

// patience is how much of a plugin's talk is listened to at once: messages that bring no
// result, of which a plugin can send as many as it likes. One that goes on and on is read
// slower, so that it waits, and not the host.
type patience struct {
	left  float64
	since time.Time
}

const (
	talkMost   = 500  // messages at once
	talkPerSec = 5000 // and so many a second
	talkEvents = 20   // of which each may tell of so much without counting for more
)

// heed waits if there has been too much talk.
func (p *patience) heed(m *pluginpb.PluginMessage) {
	for _, e := range m.GetEvents() {
		if e.GetResult() != nil || e.GetRecalled() != nil {
			return
		}
	}
	now := time.Now()
	cost := max(1, float64(len(m.GetEvents()))/talkEvents)
	p.left = min(talkMost, p.left+talkPerSec*now.Sub(p.since).Seconds()) - cost
	p.since = now
	if p.left < 0 {
		time.Sleep(time.Duration(-p.left / talkPerSec * float64(time.Second)))
	}
}
