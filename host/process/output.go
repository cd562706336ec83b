package process

import (
	"bytes"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// maxLine bounds one line of plugin output; what is longer is cut and says so.
	maxLine = 8 << 10
	// tailLines and tailLineBytes bound what is kept of a process's last output for its
	// exit.
	tailLines     = 40
	tailLineBytes = 512
	// outputRate and outputBurst bound what one process may put into the host's log, in
	// bytes per second and at once. The rest is dropped, and counted.
	outputRate  = 256 << 10
	outputBurst = 1 << 20
	// lineCost is what a line costs on top of its bytes: an empty one fills a log, too.
	lineCost = 64
	// sinkQueue is how many lines of all processes may wait for the log.
	sinkQueue = 4096
)

// Line is one line of a plugin's output outside of its tasks' own log calls.
type Line struct {
	Time   time.Time
	Plugin string
	PID    int
	Stream string // "stdout" or "stderr"
	Text   string // valid UTF-8, without the line end
}

// output takes what one process prints: it keeps the last lines, and passes lines on at a
// bounded rate. It never blocks, since whoever writes to it reads the plugin's pipes.
type output struct {
	plugin string
	pid    func() int
	sink   chan<- Line

	mu      sync.Mutex
	tail    []string // ring
	next    int
	tokens  float64
	last    time.Time
	dropped int
}

func newOutput(plugin string, pid func() int, sink chan<- Line) *output {
	return &output{plugin: plugin, pid: pid, sink: sink, tokens: outputBurst}
}

func (o *output) line(stream string, b []byte, cut bool) {
	text := string(bytes.ToValidUTF8(b, []byte("\uFFFD")))
	if cut {
		text += " … (line cut)"
	}
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keep(text)
	if !o.last.IsZero() {
		o.tokens = min(outputBurst, o.tokens+now.Sub(o.last).Seconds()*outputRate)
	}
	o.last = now
	cost := float64(len(text) + lineCost)
	if o.tokens < cost {
		o.dropped++
		return
	}
	if o.dropped > 0 && o.pass(Line{now, o.plugin, o.pid(), stream, fmt.Sprintf("(%d lines dropped: more than %d KiB/s)", o.dropped, outputRate>>10)}) {
		o.dropped = 0
	}
	o.tokens -= cost
	if !o.pass(Line{now, o.plugin, o.pid(), stream, text}) {
		o.dropped++
	}
}

func (o *output) pass(l Line) bool {
	select {
	case o.sink <- l:
		return true
	default:
		return false
	}
}

func (o *output) keep(text string) {
	if len(text) > tailLineBytes {
		n := tailLineBytes
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n] + "…"
	}
	if len(o.tail) < tailLines {
		o.tail = append(o.tail, text)
		return
	}
	o.tail[o.next] = text
	o.next = (o.next + 1) % tailLines
}

// lastLines returns the last lines, oldest first.
func (o *output) lastLines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append(append([]string(nil), o.tail[o.next:]...), o.tail[:o.next]...)
}

// writer returns an io.Writer that splits what it gets into the lines of one stream.
func (o *output) writer(stream string) *lineWriter { return &lineWriter{out: o, stream: stream} }

// lineWriter splits bytes into lines of at most maxLine bytes. It never fails and never
// blocks. It is safe for concurrent use, because go-plugin gives no promise.
type lineWriter struct {
	out    *output
	stream string

	mu   sync.Mutex
	buf  []byte
	skip bool // inside a line whose beginning has been passed on as cut
}

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i]
		}
		if !w.skip {
			room := maxLine - len(w.buf)
			if len(part) > room {
				w.buf = append(w.buf, part[:room]...)
				w.emit(true)
				w.skip = true
			} else {
				w.buf = append(w.buf, part...)
			}
		}
		if i < 0 {
			break
		}
		if !w.skip {
			w.emit(false)
		}
		w.skip = false
		p = p[i+1:]
	}
	return n, nil
}

// flush passes on what is left of a last line without an end.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) > 0 {
		w.emit(false)
	}
}

func (w *lineWriter) emit(cut bool) {
	w.out.line(w.stream, bytes.TrimSuffix(w.buf, []byte("\r")), cut)
	w.buf = w.buf[:0]
}
