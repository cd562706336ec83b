package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/bench/suite"
)

// results are two arms over three rounds; in the third the machine was slow for both.
func results() *suite.Result {
	return &suite.Result{Case: "noop-pooled", Title: "Tasks <that> do nothing", Ref: "theirs", Rounds: 3, Seed: 7,
		Metrics: []suite.Metric{{Name: "rate", Unit: "tasks/s"}},
		Floors: []suite.Floor{{Arm: "ours", Metric: "rate", Least: 5}, {Arm: "ours", Metric: "rate", Least: 7},
			{Arm: "ours", Metric: "rate", Absolute: true, Most: 10000}, {Arm: "nobody", Metric: "rate", Least: 1}},
		Arms: []suite.ArmResult{
			{Name: "ours", Size: "10 tasks", Values: []suite.Values{{"rate": 60000}, {"rate": 66000}, {"rate": 6000}}},
			{Name: "theirs", Values: []suite.Values{{"rate": 10000}, {"rate": 11000}, {"rate": 1000}}},
			{Name: "broken", Problem: "it did not start"},
		}}
}

func TestRatiosAreTakenRoundByRound(t *testing.T) {
	s, ok := results().Ratio("ours", "theirs", "rate")
	require.True(t, ok)
	require.Equal(t, suite.Spread{Median: 6, Min: 6, Max: 6}, s)
}

func TestPrint(t *testing.T) {
	var b bytes.Buffer
	Print(&b, results())
	require.Contains(t, b.String(), "60,000 (6,000–66,000) tasks/s  × 6")
	require.Contains(t, b.String(), "ours to theirs: 6, at least 5: holds")
	require.Contains(t, b.String(), "ours to theirs: 6, at least 7: DOES NOT HOLD")
	require.Contains(t, b.String(), "ours: 60,000 (6,000–66,000), at most 10,000: DOES NOT HOLD")
	require.Contains(t, b.String(), "nobody to theirs: not measured")
	require.Contains(t, b.String(), "it did not start")
}

func TestTables(t *testing.T) {
	text := Tables([]suite.Result{*results()})
	require.Contains(t, text, "| `noop-pooled` | ours : theirs | 6 × | at least 5 | yes |")
	require.Contains(t, text, "| `noop-pooled` | ours : theirs | 6 × | at least 7 | **no** |")
	require.Contains(t, text, "| ours | 10 tasks | 60,000 (6,000–66,000) | 6 |")
	require.Contains(t, text, "| broken |  | failed |  |")

	page, err := between([]byte("a "+beginMark+" stale "+endMark+" z"), text)
	require.NoError(t, err)
	require.Contains(t, string(page), "yes")
	require.NotContains(t, string(page), "stale")
	again, err := between(page, text)
	require.NoError(t, err)
	require.Equal(t, string(page), string(again))
	_, err = between([]byte("no marks"), text)
	require.Error(t, err)
}

func TestPlotIsWellFormed(t *testing.T) {
	svg := Plot([]suite.Result{*results()})
	d := xml.NewDecoder(bytes.NewReader(svg))
	bars := 0
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "path" {
			bars++
		}
	}
	require.Equal(t, 2, bars)
}

func TestKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	other := *results()
	other.Case = "idle"
	require.NoError(t, Keep(path, &other))
	require.NoError(t, Keep(path, results()))
	newer := *results()
	newer.Seed = 8
	require.NoError(t, Keep(path, &newer))
	all, err := Load(path)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, "noop-pooled", all[0].Case, "in the order of the cases")
	require.Equal(t, uint64(8), all[0].Seed)
	require.Equal(t, 60000.0, all[0].Arms[0].Values[0]["rate"])
}

func TestNumber(t *testing.T) {
	for f, want := range map[float64]string{1234567: "1,234,567", 1000: "1,000", 999.4: "999", 12.34: "12.3", 12: "12",
		1.234: "1.23", 2: "2", 0.95: "0.95", 1.0 / 3: "0.333", 0: "0"} {
		require.Equal(t, want, number(f))
	}
}
