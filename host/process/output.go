package process

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/backplane/leptir/host/process/sandbox"
	"github.com/backplane/leptir/internal/lograte"
)

const (
	// maxLine bounds one line of plugin output; what is longer is cut and says so.
	maxLine = 8 << 10
	// tailLines and tailLineBytes bound what is kept of a process's last output for its
	// exit.
	tailLines     = 40
	tailLineBytes = 512
	// maxDump bounds what is kept of a process that has been told to abort.
	maxDump = 256 << 10
	// skimEvery is after how many lines it is looked whether the next need a look.
	skimEvery = 256
	// A flood is read by this many bytes at a time with a rest after each, so that it takes no
	// processor to itself, neither for the plugin's writing nor for the host's reading.
	floodBytes = 64 << 10
	floodRest  = time.Millisecond
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
// bounded rate. It never blocks, since whoever writes to it reads the plugin's pipes; calm is
// what slows down a plugin that prints far more than anybody will see.
type output struct {
	plugin string
	pid    func() int
	sink   chan<- Line

	most int64         // bytes in the life of the process; 0 is no bound
	task func() uint64 // how many tasks have begun; nil where nobody knows

	mu      sync.Mutex
	tail    []tailLine // ring
	next    int
	rate    lograte.Limiter
	written int64
	dumping bool
	dump    strings.Builder
}

// tailLine is one of the last lines, and how many tasks had begun when it was read.
type tailLine struct {
	text  string
	begun uint64
}

// newOutput returns the output of a process that may write at most so many bytes into the
// log in its life; 0 is no bound.
func newOutput(plugin string, pid func() int, most int64, sink chan<- Line) *output {
	return &output{plugin: plugin, pid: pid, most: most, sink: sink}
}

// count counts what has been read of the process, and reports, once, that it is too much.
func (o *output) count(n int) (spent bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := o.written
	o.written += int64(n)
	return o.most > 0 && before <= o.most && o.written > o.most
}

// spent reports whether the process has written more than it may.
func (o *output) spent() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.overdone()
}

// overdone is spent with o.mu held.
func (o *output) overdone() bool { return o.most > 0 && o.written > o.most }

// flooded reports whether what comes now would only be counted.
func (o *output) flooded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.overdone() || o.rate.Full(time.Now())
}

// calm is a plugin's pipe that is read at leisure while the plugin floods it.
type calm struct {
	io.Reader
	out  *output
	read int // since the last rest
}

// Read implements io.Reader.
func (c *calm) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.read += n; c.read >= floodBytes {
		c.read = 0
		if c.out.flooded() {
			time.Sleep(floodRest)
		}
	}
	return n, err
}

// beginDump keeps what is written from now on as a dump, out of the log.
func (o *output) beginDump() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dumping = true
}

// dumped returns what has been written since beginDump.
func (o *output) dumped() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dump.String()
}

func (o *output) line(stream string, b []byte, cut bool) {
	text := string(bytes.ToValidUTF8(b, []byte("\uFFFD")))
	if cut {
		text += " … (line cut)"
	}
	now, begun := time.Now(), uint64(0)
	if o.task != nil {
		begun = o.task()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dumping {
		if o.dump.Len() < maxDump {
			o.dump.WriteString(text)
			o.dump.WriteByte('\n')
		}
		return
	}
	o.keep(text, begun)
	if o.overdone() {
		return
	}
	if !o.rate.Allow(len(text), now) {
		return
	}
	o.tell(stream, now)
	if !o.pass(Line{now, o.plugin, o.pid(), stream, text}) {
		o.rate.Suppress()
	}
}

// tell passes on how many lines have been dropped, if any have. o.mu is held.
func (o *output) tell(stream string, now time.Time) {
	if notice := o.rate.Notice(); notice != "" && o.pass(Line{now, o.plugin, o.pid(), stream, notice}) {
		o.rate.Told()
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

func (o *output) keep(text string, begun uint64) {
	if len(text) > tailLineBytes {
		n := tailLineBytes
		for n > 0 && !utf8.RuneStart(text[n]) {
			n--
		}
		text = text[:n] + "…"
	}
	if len(o.tail) < tailLines {
		o.tail = append(o.tail, tailLine{text, begun})
		return
	}
	o.tail[o.next] = tailLine{text, begun}
	o.next = (o.next + 1) % tailLines
}

// lastLines returns the last lines that were read when so many tasks had begun, or more, oldest
// first.
func (o *output) lastLines(begun uint64) (lines []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, part := range [][]tailLine{o.tail[o.next:], o.tail[:o.next]} {
		for _, l := range part {
			if l.begun >= begun {
				lines = append(lines, l.text)
			}
		}
	}
	return lines
}

// skim leaves out of p, which begins with a line, the lines that would only be counted. Else a
// plugin that writes nothing but line ends would cost the host far more than itself.
func (o *output) skim(p []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	spent := o.overdone()
	if o.dumping || !spent && !o.rate.Full(time.Now()) {
		return p
	}
	rest := len(p)
	for range tailLines + 1 { // the last ones are kept for the record
		if rest = bytes.LastIndexByte(p[:rest], '\n'); rest < 0 {
			return p
		}
	}
	if !spent {
		o.rate.SuppressMany(bytes.Count(p[:rest+1], []byte("\n")))
	}
	return p[rest+1:]
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
	if w.out.count(n) {
		w.out.pass(Line{time.Now(), w.out.plugin, w.out.pid(), w.stream,
			fmt.Sprintf("(no more lines of this process: it has written more than its output_max of %s)", sandbox.Bytes(w.out.most))})
	}
	for lines := 0; len(p) > 0; lines++ {
		if lines%skimEvery == 0 && len(w.buf) == 0 && !w.skip {
			p = w.out.skim(p)
		}
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

// flush passes on what is left of a last line without an end, and how many were dropped
// before it.
func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) > 0 {
		w.emit(false)
	}
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	w.out.tell(w.stream, time.Now())
}

func (w *lineWriter) emit(cut bool) {
	w.out.line(w.stream, bytes.TrimSuffix(w.buf, []byte("\r")), cut)
	w.buf = w.buf[:0]
}
