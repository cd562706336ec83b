package dispatch

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/pool"
	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

// The attributes of a task's line can be read in both formats, and never pass for the host's.
func TestAttributesOfALine(t *testing.T) {
	t.Parallel()
	many := &strings.Builder{}
	for i := range maxLogAttrs + 1 {
		fmt.Fprintf(many, `,"k%d":1`, i)
	}
	for name, c := range map[string]struct{ attrs, text, json string }{
		"none":     {``, ``, ``},
		"plain":    {`{"to":"ann","n":3,"task":"forged"}`, ` attrs.n=3 attrs.task=forged attrs.to=ann`, `,"attrs":{"n":3,"task":"forged","to":"ann"}`},
		"nested":   {`{"a":{"b":{"c":1}},"list":[1,"x"]}`, ` attrs.a.b.c=1 attrs.list="[1 x]"`, `,"attrs":{"a":{"b":{"c":1}},"list":[1,"x"]}`},
		"empty":    {`{"a":{},"":{"b":1}}`, ` "attrs."=map[b:1] attrs.a=map[]`, `,"attrs":{"":{"b":1},"a":{}}`},
		"deep":     {`{"a":{"a":{"a":{"a":{"a":1}}}}}`, ` attrs.a.a.a.a=map[a:1]`, `,"attrs":{"a":{"a":{"a":{"a":{"a":1}}}}}`},
		"hostile":  {`{"a b\n":"x=1 task=forged"}`, ` "attrs.a b\n"="x=1 task=forged"`, `,"attrs":{"a b\n":"x=1 task=forged"}`},
		"rubbish":  {`[1]`, ` attrs="(not a JSON object)"`, `,"attrs":"(not a JSON object)"`},
		"too many": {`{` + many.String()[1:] + `}`, ` attrs="(65 attributes left out, at most 64 are logged)"`, `,"attrs":"(65 attributes left out, at most 64 are logged)"`},
		"too long": {`{"a":"` + strings.Repeat("x", maxLogMessage) + `"}`, ` attrs="(65544 bytes left out)"`, `,"attrs":"(65544 bytes left out)"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line := func(handler func(*bytes.Buffer) slog.Handler) string {
				var b bytes.Buffer
				o := &Observer{Logger: slog.New(handler(&b))}
				o.Log("demo", 42, &pool.Job{Task: task.Task{ID: "t", Type: "demo.test"}, Attempt: 2}, &pluginpb.Log{Message: "hello", Attrs: []byte(c.attrs)})
				_, rest, ok := strings.Cut(b.String(), "hello")
				require.True(t, ok, "%s", b.String())
				return rest
			}
			require.Equal(t, " task=t type=demo.test attempt=2 plugin=demo worker=42"+c.text+"\n",
				line(func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) }))
			require.Equal(t, `","task":"t","type":"demo.test","attempt":2,"plugin":"demo","worker":42`+c.json+"}\n",
				line(func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) }))
		})
	}
}
