package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	sdk "github.com/backplane/leptir/plugin-sdk"
	"github.com/backplane/leptir/plugin-sdk/sdktest"
)

// files writes expenses and returns their path and that of a report to come.
func files(t *testing.T, expenses string) (from, to string) {
	t.Helper()
	dir := t.TempDir()
	from, to = filepath.Join(dir, "expenses.csv"), filepath.Join(dir, "report.txt")
	require.NoError(t, os.WriteFile(from, []byte(expenses), 0o600))
	return from, to
}

func TestMake(t *testing.T) {
	t.Parallel()
	from, to := files(t, "paper,12.5\nink,30\n")
	sdktest.Run(t, makeReport, MakeParams{From: from, To: to, Tell: []string{"ann", "bob"}}, sdktest.ID("march")).
		WantSuccess().
		WantStates(StateReading, StateWriting, StateTelling).
		WantResponse("2 expenses, 42.50 in all").
		WantResult(map[string]any{"total": 42.5}).
		WantMeta("report", to).
		WantProgress(1, "ink").
		WantPushed("report.notify", NotifyParams{Who: "ann", Report: to}).
		WantPushed("report.notify", NotifyParams{Who: "bob", Report: to}).
		WantLog(slog.LevelInfo, "report closed", "file", to)
	report, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, "paper                     12.50\nink                       30.00\ntotal                     42.50\n", string(report))
}

func TestWrongExpensesAreUndone(t *testing.T) {
	t.Parallel()
	from, to := files(t, "paper,12.5\nink,thirty\n")
	o := sdktest.Run(t, makeReport, MakeParams{From: from, To: to}).
		WantCode(sdk.Error).WantFailure("error", `line 2: "thirty" is no amount`).
		WantStates(StateReading, StateWriting).
		WantLog(slog.LevelInfo, "report closed", "file", to).
		WantUndo("report.remove", RemoveParams{File: to})
	require.True(t, o.Failure.Permanent)
	require.FileExists(t, to, "half a report")

	sdktest.Run(t, removeReport, o.Undo.Params).WantSuccess().WantResponse("removed " + to)
	require.NoFileExists(t, to)
	sdktest.Run(t, removeReport, o.Undo.Params).WantSuccess()
}

func TestNothingToUndo(t *testing.T) {
	t.Parallel()
	o := sdktest.Run(t, makeReport, nil).WantInputError("from").WantStates()
	require.Nil(t, o.Undo)
}

func TestPlugin(t *testing.T) {
	t.Parallel()
	from, to := files(t, "paper,12.5\n")
	path := sdktest.Build(t, ".")
	plugin := sdktest.Binary(t, path)
	plugin.Run("report.make", MakeParams{From: from, To: to, Tell: []string{"ann"}}).WantSuccess().
		WantStates(StateReading, StateWriting, StateTelling).
		WantPushed("report.notify", NotifyParams{Who: "ann", Report: to})
	// Somebody wants it undone although it has succeeded.
	plugin.Run("report.make", MakeParams{From: from, To: to}, sdktest.Revert()).WantUndo("report.remove", RemoveParams{File: to})
	plugin.Run("report.notify", NotifyParams{Who: "ann", Report: to}).WantSuccess().WantResponse("ann knows of " + to)
	plugin.Run("report.remove", RemoveParams{File: to}).WantSuccess()
	require.NoFileExists(t, to)
}
