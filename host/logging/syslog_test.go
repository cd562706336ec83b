package logging_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/logging"
)

func syslogSettings(t *testing.T, address string) *logging.SyslogSettings {
	t.Helper()
	kind, ok := logging.Standard().Kind("syslog")
	require.True(t, ok)
	s := kind.New().(*logging.SyslogSettings)
	s.Address = address
	return s
}

// listenLog listens as the machine's syslog does.
func listenLog(t *testing.T) (string, *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "syslog") // t.TempDir can be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "log")
	return path, listenAt(t, path)
}

func listenAt(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func receive(t *testing.T, conn net.Conn) string {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, 1<<20)
	n, err := conn.Read(b)
	require.NoError(t, err)
	return string(b[:n])
}

func TestLocalSyslog(t *testing.T) {
	t.Parallel()
	path, conn := listenLog(t)
	s := syslogSettings(t, path)
	s.Level = "debug"
	l, sinks := logging.New(open(t, s))
	head := func(priority int) string {
		return fmt.Sprintf(`^<%d>[A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d leptir-host\[%d\]: `, priority, os.Getpid())
	}
	for level, priority := range map[slog.Level]int{slog.LevelDebug: 31, slog.LevelInfo: 30, slog.LevelWarn: 28, slog.LevelError: 27} {
		handle(l.With("task", "0190-a"), level, "sent\nforged", "to", "a b")
		require.Regexp(t, head(priority)+`"sent\\nforged" task=0190-a to="a b"$`, receive(t, conn))
	}
	l.Info(strings.Repeat("x", 500_000)) // more than a socket takes
	got := receive(t, conn)
	require.Len(t, got, 2048)
	require.True(t, strings.HasSuffix(got, "xxx…"))
	require.Zero(t, sinks.WriteErrors())
}

// A syslog that is started anew loses nothing of what is logged meanwhile.
func TestLocalSyslogRestart(t *testing.T) {
	t.Parallel()
	path, conn := listenLog(t)
	l, sinks := logging.New(open(t, syslogSettings(t, path)))
	l.Info("one")
	require.Contains(t, receive(t, conn), "one")
	require.NoError(t, conn.Close())
	require.NoError(t, os.RemoveAll(path))
	l.Info("two")
	l.Info("three")
	conn = listenAt(t, path)
	require.Contains(t, receive(t, conn), "two")
	require.Contains(t, receive(t, conn), "three")
	require.Zero(t, sinks.WriteErrors())
}

// A syslog that hangs keeps nobody from logging, and no program from ending.
func TestLocalSyslogHangs(t *testing.T) {
	t.Parallel()
	path, _ := listenLog(t) // never read from
	sink, err := syslogSettings(t, path).Open(t.Context())
	require.NoError(t, err)
	l, sinks := logging.New(sink)
	for range 20_000 {
		l.Info(strings.Repeat("x", 300))
	}
	require.NotZero(t, sinks.WriteErrors())
	require.ErrorContains(t, sinks.Close(), "log lines are lost: the syslog does not take them")
}

const rfc5424 = `^<158>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \S+ leptir \d+ - - `

func TestSyslogUDP(t *testing.T) {
	t.Parallel()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer server.Close()
	s := syslogSettings(t, "udp://"+server.LocalAddr().String())
	s.Facility, s.Tag, s.Format = "local3", "leptir", "json"
	l, _ := logging.New(open(t, s))
	l.Info("a\nb", "task", "x")
	got := receive(t, server.(*net.UDPConn))
	require.Regexp(t, rfc5424, got)
	var line map[string]any
	require.NoError(t, json.Unmarshal([]byte(got[strings.Index(got, "{"):]), &line))
	require.Equal(t, "a\nb", line["msg"])
	require.Equal(t, "x", line["task"])
}

// Over TCP the length stands before each message. The server may come late.
func TestSyslogTCP(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := server.Addr().String()
	require.NoError(t, server.Close())
	s := syslogSettings(t, "tcp://"+address)
	s.Facility, s.Tag = "local3", "leptir"
	l, _ := logging.New(open(t, s))
	l.Info("one", "task", "x")
	l.Info("two")
	server, err = net.Listen("tcp", address)
	require.NoError(t, err)
	defer server.Close()
	conn, err := server.Accept()
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	r := bufio.NewReader(conn)
	for _, want := range []string{"one task=x$", "two$"} {
		length, err := r.ReadString(' ')
		require.NoError(t, err)
		n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
		require.NoError(t, err)
		message := make([]byte, n)
		_, err = io.ReadFull(r, message)
		require.NoError(t, err)
		require.Regexp(t, rfc5424+want, string(message))
	}
}

func TestSyslogSettings(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"":                   `syslog address "" is neither the path of a socket nor like udp://host:514 or tcp://host:514`,
		"log":                `syslog address "log" is neither the path of a socket nor like udp://host:514 or tcp://host:514`,
		"http://x":           `syslog address "http://x" is neither the path of a socket nor like udp://host:514 or tcp://host:514`,
		"udp://":             `syslog address "udp://" has no host, or no port between 1 and 65535`,
		"udp://x:0":          `syslog address "udp://x:0" has no host, or no port between 1 and 65535`,
		"tcp://x:99999":      `syslog address "tcp://x:99999" has no host, or no port between 1 and 65535`,
		"tcp://x:514":        "",
		"tcp://x":            "",
		"udp://[::1]":        "",
		"udp://[::1]:514":    "",
		"udp://192.0.2.1:99": "",
	} {
		err := syslogSettings(t, address).Validate()
		if want == "" {
			require.NoError(t, err, address)
			continue
		}
		require.EqualError(t, err, want)
	}
	_, err := syslogSettings(t, filepath.Join(t.TempDir(), "none")).Open(t.Context())
	require.ErrorContains(t, err, "no such file or directory; is a syslog running here?")
}

// Only what belongs to a terminal is left out in the background.
func TestForeground(t *testing.T) {
	t.Parallel()
	for _, name := range logging.Standard().Names() {
		kind, _ := logging.Standard().Kind(name)
		_, foreground := kind.New().(logging.Foreground)
		require.Equal(t, name == "stdout" || name == "stderr", foreground, name)
	}
}
