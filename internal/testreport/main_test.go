package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		failed   bool
		want     string
	}{
		{"all well", `{"Action":"pass","Package":"x/a","Test":"TestA"}
{"Action":"pass","Package":"x/a","Elapsed":1.25}
`, false, "ok  \tx/a\t1.2s\n\n1 passed, 0 failed, 0 skipped\n"},
		{"a failure shows its output", `{"Action":"output","Package":"x/a","Test":"TestA","Output":"    a_test.go:3: wrong\n"}
{"Action":"fail","Package":"x/a","Test":"TestA"}
{"Action":"fail","Package":"x/a","Elapsed":1}
`, true, "    a_test.go:3: wrong\nFAIL\tx/a\t1.0s\n\n0 passed, 1 failed, 0 skipped\n"},
		{"a race is told in the output of a test that passes", `{"Action":"output","Package":"x/a","Test":"TestA","Output":"==================\n"}
{"Action":"output","Package":"x/a","Test":"TestA","Output":"WARNING: DATA RACE\n"}
{"Action":"output","Package":"x/a","Test":"TestA","Output":"Read at 0x1 by goroutine 7:\n"}
{"Action":"output","Package":"x/a","Test":"TestA","Output":"==================\n"}
{"Action":"output","Package":"x/a","Test":"TestA","Output":"--- PASS: TestA\n"}
{"Action":"pass","Package":"x/a","Test":"TestA"}
{"Action":"output","Package":"x/a","Test":"TestB","Output":"    testing.go:1712: race detected during execution of test\n"}
{"Action":"fail","Package":"x/a","Test":"TestB"}
{"Action":"fail","Package":"x/a","Elapsed":1}
`, true, "WARNING: DATA RACE\nRead at 0x1 by goroutine 7:\n==================\n    testing.go:1712: race detected during execution of test\nFAIL\tx/a\t1.0s\n\n1 passed, 1 failed, 0 skipped\n"},
		{"a package that fails without a test", `{"Action":"output","Package":"x/a","Output":"panic: no\n"}
{"Action":"fail","Package":"x/a","Elapsed":1}
`, true, "panic: no\nFAIL\tx/a\t1.0s\n\n0 passed, 0 failed, 0 skipped\n"},
		{"skips carry their reason", `{"Action":"output","Package":"x/a","Test":"TestA","Output":"    a_test.go:3: no server: install one\n"}
{"Action":"skip","Package":"x/a","Test":"TestA"}
{"Action":"pass","Package":"x/a","Elapsed":1}
`, false, "ok  \tx/a\t1.0s\n\nSkipped, and why:\n  no server: install one: a.TestA\n\n0 passed, 0 failed, 1 skipped\n"},
		{"what is no JSON is passed on", "go: downloading x\n", false, "go: downloading x\n\n0 passed, 0 failed, 0 skipped\n"},
		{"a broken build", `{"ImportPath":"x/a","Action":"build-output","Output":"a.go:1: no\n"}
{"ImportPath":"x/a","Action":"build-fail"}
{"Action":"fail","Package":"x/a","Elapsed":0}
`, true, "a.go:1: no\nFAIL\tx/a\t0.0s\n\n0 passed, 0 failed, 0 skipped\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			failed, err := report(strings.NewReader(tt.in), &out)
			require.NoError(t, err)
			require.Equal(t, tt.failed, failed)
			require.Equal(t, tt.want, out.String())
		})
	}
}
