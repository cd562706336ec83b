package logging_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/logging"
)

// fields reads what is sent in the journal's native protocol.
func fields(t *testing.T, data []byte) map[string]string {
	t.Helper()
	got := map[string]string{}
	for len(data) > 0 {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		require.True(t, ok, "%q", data)
		name, value, single := strings.Cut(string(line), "=")
		if !single {
			require.GreaterOrEqual(t, len(rest), 8)
			size := binary.LittleEndian.Uint64(rest)
			rest = rest[8:]
			require.GreaterOrEqual(t, uint64(len(rest)), size+1)
			value, rest = string(rest[:size]), rest[size+1:]
		}
		require.NotContains(t, got, name)
		got[name], data = value, rest
	}
	return got
}

// TestJournal runs a program whose journal is a socket of this test's: where the journal
// listens is set when it is linked.
func TestJournal(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "journal") // t.TempDir can be too long for a socket
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	program := filepath.Join(dir, "journal")
	build := exec.Command("go", "build", "-o", program, "-ldflags",
		"-X github.com/coreos/go-systemd/v22/journal.journalSocket="+socket, "./testdata/journal")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	out, err = exec.Command(program, "text").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "journal: this machine has no systemd journal, or it is not running")

	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	defer conn.Close()
	for _, format := range []string{"text", "json"} {
		out, err := exec.Command(program, format).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Empty(t, out)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		b := make([]byte, 64<<10)
		n, err := conn.Read(b)
		require.NoError(t, err)
		got := fields(t, b[:n])
		message := got["MESSAGE"]
		delete(got, "MESSAGE")
		require.Equal(t, map[string]string{
			"PRIORITY": "4", "SYSLOG_IDENTIFIER": "leptir-host", "LEPTIR_TASK": "0190-a", "LEPTIR_TYPE": "demo.test",
			"LEPTIR_ATTEMPT": "2", "LEPTIR_TWO_WORDS": "a\nb", "LEPTIR_PRIORITY": "0", "LEPTIR_ATTRS": `{"to":"ann","n":3}`,
		}, got)
		if format == "text" {
			require.Equal(t, `"it\nfailed" task=0190-a type=demo.test attempt=2 "two words"="a\nb" PRIORITY=0 attrs.to=ann attrs.n=3`, message)
			continue
		}
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(message), &line))
		require.Equal(t, "it\nfailed", line["msg"])
		require.Equal(t, "WARN", line["level"])
	}
	require.NoError(t, conn.SetReadDeadline(time.Unix(1, 0)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "nothing else is sent")
}

// As on most machines that run tests: there is no journal.
func TestNoJournal(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/run/systemd/journal/socket"); err == nil {
		t.Skip("this machine has a journal")
	}
	kind, ok := logging.Standard().Kind("journal")
	require.True(t, ok)
	_, err := kind.New().Open(t.Context())
	require.EqualError(t, err, "journal: this machine has no systemd journal, or it is not running")
}
