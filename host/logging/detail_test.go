package logging

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDetail(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := Detail(slog.New(slog.NewTextHandler(&out, nil))).With("a", 1).WithGroup("g")
	l.Warn("detail")
	require.Empty(t, out.String())
	l.Error("trouble", "b", 2)
	require.Contains(t, out.String(), `level=INFO msg=trouble a=1 g.b=2`)
}
