package task

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// A record is written for every task, and encoding/json takes a good part of the time that
// leptir has for one. So the fields that every record has are written here, to the byte as
// json would, in a third of the time or less; the rest is left to json.

// appendRecord appends what json.Marshal makes of the fixed part of r.
func appendRecord(b []byte, r *Record) ([]byte, error) {
	w := objectWriter{b: b}
	w.begin()
	w.text("_id", string(r.ID))
	w.number("status", int(r.Status))
	if r.RetC != 0 {
		w.number("retC", int(r.RetC))
	}
	w.float("exTime", r.ExTime)
	w.text("respM", r.RespM)
	w.text("type", r.Type)
	w.someTime("exStart", r.ExStart.UTC())
	w.name("leptir")
	w.run(&r.Run)
	w.end()
	return w.b, w.err
}

func (w *objectWriter) run(r *Run) {
	w.begin()
	w.someNumber("attempt", r.Attempt)
	w.someNumber("delivery", r.Delivery)
	w.someNumber("errors", r.Errors)
	w.someNumber("crashes", r.Crashes)
	w.someNumber("timeouts", r.Timeouts)
	w.someNumber("hosts_lost", r.HostsLost)
	w.someTime("ended", r.Ended)
	w.someTime("retry", r.Retry)
	w.someText("host", r.Host)
	w.someNumber("process", r.Process)
	w.someText("plugin", r.Plugin)
	if len(r.States) > 0 {
		w.other("states", r.States)
	}
	w.someText("error", r.Error)
	w.someText("stack", r.Stack)
	if r.Exit != nil {
		w.other("exit", r.Exit)
	}
	w.someText("note", r.Note)
	if r.Progress != nil {
		w.other("progress", r.Progress)
	}
	if len(r.Result) > 0 {
		w.other("result", r.Result)
	}
	if r.Undo != nil {
		w.other("undo", r.Undo)
	}
	w.someText("undoes", string(r.Undoes))
	w.end()
}

// objectWriter writes a JSON object, field by field; a method that begins with "some" leaves
// a zero value out. After an error what it has written is of no use.
type objectWriter struct {
	b     []byte
	err   error
	first bool // no field has been written yet
}

func (w *objectWriter) begin() { w.b, w.first = append(w.b, '{'), true }
func (w *objectWriter) end()   { w.b, w.first = append(w.b, '}'), false }

// name writes the name of the next field, which json writes as it stands.
func (w *objectWriter) name(name string) {
	if !w.first {
		w.b = append(w.b, ',')
	}
	w.first = false
	w.b = append(append(append(w.b, '"'), name...), '"', ':')
}

func (w *objectWriter) number(name string, n int) {
	w.name(name)
	w.b = strconv.AppendInt(w.b, int64(n), 10)
}

func (w *objectWriter) someNumber(name string, n int) {
	if n != 0 {
		w.number(name, n)
	}
}

func (w *objectWriter) float(name string, f float64) {
	if abs := math.Abs(f); f != 0 && !(abs >= 1e-6 && abs < 1e21) { // json writes it with an exponent, or not at all
		w.other(name, f)
		return
	}
	w.name(name)
	w.b = strconv.AppendFloat(w.b, f, 'f', -1, 64)
}

func (w *objectWriter) text(name, s string) {
	if !isPlain(s) {
		w.other(name, s)
		return
	}
	w.name(name)
	w.b = append(append(append(w.b, '"'), s...), '"')
}

// isPlain reports whether a text is all printable ASCII that json never escapes.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

func (w *objectWriter) someText(name, s string) {
	if s != "" {
		w.text(name, s)
	}
}

func (w *objectWriter) someTime(name string, t time.Time) {
	if t.IsZero() {
		return
	}
	w.name(name)
	b, err := t.AppendText(append(w.b, '"'))
	if err != nil {
		w.fail(err)
		return
	}
	w.b = append(b, '"')
}

// other writes a field that encoding/json encodes.
func (w *objectWriter) other(name string, v any) {
	w.name(name)
	b, err := json.Marshal(v)
	if err != nil {
		w.fail(err)
		return
	}
	w.b = append(w.b, b...)
}

func (w *objectWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}
