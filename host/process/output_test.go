package process

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/lograte"
)

func TestParseHandshake(t *testing.T) {
	t.Parallel()
	require.NoError(t, parseHandshake("1|1|unix|/tmp/x|grpc|\n"))
	for _, no := range []string{"", "hello", "1|2", "a|b|c|d|e", "1|1|smtp|x|grpc"} {
		require.ErrorIs(t, parseHandshake(no), errNoHandshake, no)
	}
	for _, bad := range []string{"1|2|unix|/tmp/x|grpc|", "2|1|unix|/tmp/x|grpc|", "1|1|tcp|127.0.0.1:4|grpc|", "1|1|unix|/tmp/x|netrpc", "1|1|unix|/tmp/x"} {
		err := parseHandshake(bad)
		require.Error(t, err, bad)
		require.NotErrorIs(t, err, errNoHandshake, bad)
	}
}

func FuzzFilterStdout(f *testing.F) {
	f.Add([]byte("hello\n1|1|unix|/tmp/x|grpc|\nbye"))
	f.Add([]byte("1|1|tcp|x|grpc|\n"))
	f.Add(bytes.Repeat([]byte("x"), 40<<10))
	f.Fuzz(func(t *testing.T, in []byte) {
		sink := make(chan Line, 1<<16)
		out := newOutput("p", func() int { return 1 }, 0, sink)
		r, w := io.Pipe()
		got := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(r)
			got <- b
		}()
		lw := out.writer("stdout")
		filterStdout(bytes.NewReader(in), w, lw, func(error) {})
		lw.flush()
		if line := <-got; len(line) > 0 {
			require.NoError(t, parseHandshake(string(line)), "only a handshake passes")
			require.Equal(t, 1, bytes.Count(line, []byte("\n")), "only one line passes")
		}
	})
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("one\ntwo\r\n\nthree"), 2)
	f.Add(bytes.Repeat([]byte{0xff}, 3*maxLine), 1000)
	f.Add([]byte(strings.Repeat("\n", 100)), 1)
	f.Add([]byte(strings.Repeat("\n", 40_000)+"end"), 4095)
	f.Fuzz(func(t *testing.T, in []byte, chunk int) {
		sink := make(chan Line, 1<<16)
		o := newOutput("p", func() int { return 1 }, 0, sink)
		w := o.writer("stderr")
		step := max(1, chunk%4096)
		for i := 0; i < len(in); i += step {
			n, err := w.Write(in[i:min(i+step, len(in))])
			require.NoError(t, err)
			require.Equal(t, min(i+step, len(in))-i, n)
		}
		w.flush()
		close(sink)
		all := 0
		for l := range sink {
			var dropped int
			if n, err := fmt.Sscanf(l.Text, "(%d lines dropped: more than 256 KiB/s)", &dropped); n == 1 && err == nil && !bytes.Contains(in, []byte("dropped")) {
				all += dropped
			} else {
				all++
			}
			require.True(t, utf8.ValidString(l.Text))
			require.NotContains(t, l.Text, "\n")
			require.Less(t, len(l.Text), 3*maxLine+100)
		}
		require.LessOrEqual(t, len(o.lastLines(0)), tailLines)
		if want := bytes.Count(in, []byte("\n")); !bytes.Contains(in, []byte("dropped")) {
			if len(in) > 0 && in[len(in)-1] != '\n' {
				want++
			}
			require.Equal(t, want, all, "lines are lost, or counted twice")
		}
	})
}

func TestLastLinesAreTheLast(t *testing.T) {
	t.Parallel()
	sink := make(chan Line, 10) // too small: lines are dropped, the tail is not
	o := newOutput("p", func() int { return 1 }, 0, sink)
	w := o.writer("stderr")
	for i := range 100 {
		_, _ = io.WriteString(w, strings.Repeat("a", i)+"\n")
	}
	tail := o.lastLines(0)
	require.Len(t, tail, tailLines)
	require.Len(t, tail[0], 60)
	require.Len(t, tail[tailLines-1], 99)
}

func TestFloodIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // whose clock stands still meanwhile
		sink := make(chan Line, 1<<16)
		o := newOutput("p", func() int { return 1 }, 0, sink)
		w := o.writer("stderr")
		line := strings.Repeat("a", 1023) + "\n"
		for range 5000 { // 5 MiB at once, of which a burst passes
			_, _ = io.WriteString(w, line)
		}
		o.mu.Lock()
		require.NotEmpty(t, o.rate.Notice())
		o.rate.Allow(0, time.Now().Add(time.Minute)) // a quiet minute
		o.mu.Unlock()
		_, _ = io.WriteString(w, "after\n")
		close(sink)
		var lines []string
		for l := range sink {
			lines = append(lines, l.Text)
		}
		require.Less(t, len(lines), 2500)
		require.Contains(t, lines[len(lines)-2], "lines dropped")
		require.Equal(t, "after", lines[len(lines)-1])
	})
}

// A flood that nothing follows is told of when the process ends.
func TestFloodAtTheEndIsCounted(t *testing.T) {
	t.Parallel()
	sink := make(chan Line, 1<<16)
	o := newOutput("p", func() int { return 1 }, 0, sink)
	w := o.writer("stderr")
	for range 5000 {
		_, _ = io.WriteString(w, strings.Repeat("a", 1023)+"\n")
	}
	w.flush()
	w.flush() // tells it once
	told, passed := count(sink)
	require.Positive(t, told)
	require.Equal(t, 5000, passed+told)
}

// count closes the sink and counts the lines that were passed on, and those that are told to
// have been dropped.
func count(sink chan Line) (told, passed int) {
	close(sink)
	for l := range sink {
		var n int
		if _, err := fmt.Sscanf(l.Text, "(%d lines dropped: more than 256 KiB/s)", &n); err == nil {
			told += n
			continue
		}
		passed++
	}
	return told, passed
}

// Empty lines are lines of the log, too: a flood of them is bounded like any other.
func TestFloodOfEmptyLines(t *testing.T) {
	t.Parallel()
	const n = 200_000
	sink := make(chan Line, n)
	o := newOutput("p", func() int { return 1 }, 0, sink)
	_, _ = o.writer("stderr").Write(bytes.Repeat([]byte("\n"), n))
	require.Less(t, len(sink), n/4)
}

// A flood is read at leisure, by which whoever floods is slowed down; what is within the rate
// is not.
func TestFloodIsSlowedDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const mib = 1 << 20
		o := newOutput("p", func() int { return 1 }, 0, make(chan Line, 1<<16))
		read := func(bytes int) time.Duration {
			began := time.Now()
			line := strings.Repeat("a", 1023) + "\n"
			n, err := io.Copy(o.writer("stderr"), &calm{Reader: io.LimitReader(&endless{line: line}, int64(bytes)), out: o})
			require.NoError(t, err)
			require.EqualValues(t, bytes, n)
			return time.Since(began)
		}
		require.Zero(t, read(lograte.Burst/2))
		require.InDelta(t, (100 * mib / floodBytes * floodRest).Seconds(), read(100*mib).Seconds(), 0.05)
		time.Sleep(time.Minute)
		require.Zero(t, read(lograte.Burst/2))
	})
}

// endless reads as the same line again and again.
type endless struct {
	line string
	at   int
}

func (e *endless) Read(p []byte) (n int, _ error) {
	for n < len(p) {
		c := copy(p[n:], e.line[e.at:])
		n, e.at = n+c, (e.at+c)%len(e.line)
	}
	return n, nil
}

// A flood costs little more than to read it, and what it drops is counted all the same.
func TestFloodIsCheap(t *testing.T) {
	t.Parallel()
	const chunks, lines = 1000, 32 << 10
	sink := make(chan Line, 1<<16)
	o := newOutput("p", func() int { return 1 }, 0, sink)
	w := o.writer("stderr")
	chunk := bytes.Repeat([]byte("\n"), lines)
	began := time.Now()
	for range chunks {
		_, _ = w.Write(chunk)
	}
	require.Less(t, time.Since(began), 2*time.Second, "40 ms; line by line it is above 3 s")
	t.Log(time.Since(began))
	_, _ = io.WriteString(w, strings.Repeat("last\n", 50)+"unfinished")
	w.flush()
	tail := o.lastLines(0)
	require.Equal(t, "unfinished", tail[tailLines-1])
	require.Equal(t, "last", tail[0])
	told, passed := count(sink)
	require.Equal(t, chunks*lines+51, passed+told)
}
