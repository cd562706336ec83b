package main

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	sdk "github.com/backplane/leptir/plugin-sdk"
	"github.com/backplane/leptir/plugin-sdk/sdktest"
)

// mails returns how many mails are in a folder.
func mails(t *testing.T, folder string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*.eml"))
	require.NoError(t, err)
	return len(found)
}

func TestNewsletter(t *testing.T) {
	folder := t.TempDir()
	newsletter := sdk.Type[Newsletter]("newsletter.send", "")
	sdktest.Run(t, newsletter, map[string]any{"subject": "News", "to": []string{"ann", "bob"}, "folder": folder}).
		WantSuccess().
		WantStates(StateWriting, StateSending).
		WantResponse("2 mails sent").
		WantMeta("mails", 2).
		WantProgress(1, "bob").
		WantLog(slog.LevelInfo, "newsletter sent", "mails", 2)
	require.Equal(t, 2, mails(t, folder))

	sdktest.Run(t, newsletter, map[string]any{"subject": 3, "folder": folder}).WantInputError("subject")
	sdktest.Run(t, newsletter, map[string]any{"subject": "News", "to": []string{}, "folder": folder}).WantCode(sdk.Warning)
}

func TestWelcome(t *testing.T) {
	folder := t.TempDir()
	sdktest.Run(t, welcome, Welcome{To: "ann", Folder: folder, Copies: 2, Tone: "cool"}).
		WantSuccess().
		WantResult(map[string]string{"welcomed": "ann"}).
		WantPushed("newsletter.send", map[string]any{"to": []string{"ann"}, "subject": "Issue 1", "folder": folder})
	require.Equal(t, 2, mails(t, folder))
	sdktest.Run(t, welcome, map[string]any{"to": "ann", "tone": "rude"}).WantInputError("tone")
}

// A virtual clock: five seconds of pauses take no time.
func TestTimeLimit(t *testing.T) {
	newsletter := sdk.Type[Newsletter]("newsletter.send", "")
	sdktest.Run(t, newsletter, map[string]any{"subject": "News", "to": []string{"a", "b", "c", "d", "e"}, "pause": 1, "folder": t.TempDir()},
		sdktest.Clock(time.Date(2030, 1, 1, 8, 0, 0, 0, time.UTC)), sdktest.TimeLimit(3*time.Second)).
		WantCode(sdk.TimeLimitExceeded)
}

func TestBinary(t *testing.T) {
	path := sdktest.Build(t, ".")
	plugin := sdktest.Binary(t, path)
	plugin.Run("newsletter.send", map[string]any{"subject": "News", "to": []string{"ann"}, "folder": t.TempDir()}).
		WantSuccess().WantStates(1, 2)
	plugin.Run("newsletter.welcome", map[string]any{"to": "ann", "copies": 4}).WantInputError("copies")
}
