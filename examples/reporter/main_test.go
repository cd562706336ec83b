package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// How a host uses the built plugin shows host/report/plugin.
func TestWritesLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "errors.json")
	var r sdk.ErrorReporter = &fileReporter{path: path}
	require.NoError(t, r.AddErrorData(t.Context(), map[string]any{"task_id": "17"}))
	require.NoError(t, r.AddErrorData(t.Context(), map[string]any{"list": 3}))
	require.NoError(t, r.ReportException(t.Context(), sdk.ErrorReport{Time: time.Unix(1, 0), Kind: "crash", Message: "process died", TaskType: "mail.send",
		TaskID: "17", Exit: &sdk.ProcessExit{Signal: "SIGSEGV"}, Final: true}))
	require.NoError(t, r.ReportMessage(t.Context(), sdk.ErrorReport{Message: "hello\nworld"}))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	require.Len(t, lines, 2)
	var first, second line
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &second))
	require.Equal(t, "mail.send", first.TaskType)
	require.Equal(t, "SIGSEGV", first.Signal)
	require.Equal(t, map[string]any{"task_id": "17", "list": 3.0}, first.Data)
	require.Equal(t, "hello\nworld", second.Message)
	require.Empty(t, second.Data, "the data were cleared")

	r = &fileReporter{path: t.TempDir()}
	require.Error(t, r.ReportMessage(t.Context(), sdk.ErrorReport{}), "a report that cannot be written is told as lost")
}
