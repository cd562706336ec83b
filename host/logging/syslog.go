package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	defaultSyslogAddress = "/dev/log"
	// syslogPort is where a network's syslog listens if nothing else is said.
	syslogPort = "514"
	// syslogTimeout bounds one try to connect or to send.
	syslogTimeout = 5 * time.Second
	// A syslog that is down is tried again after a pause between these.
	syslogRetryFirst = 50 * time.Millisecond
	syslogRetryMost  = 2 * time.Second
	// syslogShort is the size of a message that every receiver takes: one that is refused
	// for its size is cut to it.
	syslogShort = 2048
)

// facilities are the numbers of the syslog facilities that a daemon may use.
var facilities = map[string]int{"user": 1, "daemon": 3, "local0": 16, "local1": 17, "local2": 18, "local3": 19,
	"local4": 20, "local5": 21, "local6": 22, "local7": 23}

// SyslogSettings configures a sink on a syslog.
type SyslogSettings struct {
	Address  string `config:"address" doc:"The machine's syslog, by the path of its socket, or one in the network: \"udp://host:514\" or \"tcp://host:514\" (RFC 5424, over TCP with the length before each message). One in the network may be down when the host starts."`
	Facility string `config:"facility" oneof:"user|daemon|local0|local1|local2|local3|local4|local5|local6|local7" doc:"The facility that lines are sent with."`
	Tag      string `config:"tag" doc:"The name of the program in the lines."`
	Lines
}

// Validate reports an address or a tag that cannot be used.
func (s *SyslogSettings) Validate() error {
	_, _, err := s.address()
	return errors.Join(err, validTag(s.Tag))
}

// validTag reports a tag that RFC 5424 does not allow.
func validTag(tag string) error {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("[]:", r) }
	if tag == "" || len(tag) > 48 || strings.ContainsFunc(tag, bad) {
		return fmt.Errorf("tag %.60q cannot stand in a syslog message: use up to 48 letters, digits, dots and dashes", tag)
	}
	return nil
}

// address returns the address in the net package's terms.
func (s *SyslogSettings) address() (network, address string, err error) {
	if filepath.IsAbs(s.Address) {
		return "unixgram", s.Address, nil
	}
	network, address, ok := strings.Cut(s.Address, "://")
	if !ok || network != "udp" && network != "tcp" {
		return "", "", fmt.Errorf("syslog address %.100q is neither the path of a socket nor like udp://host:514 or tcp://host:514", s.Address)
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(address, "[]"), syslogPort)
	}
	host, port, err := net.SplitHostPort(address)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host == "" {
		return "", "", fmt.Errorf("syslog address %.100q has no host, or no port between 1 and 65535", s.Address)
	}
	return network, address, nil
}

// Open returns the sink. A syslog of this machine must be there; one in the network may
// come later.
func (s *SyslogSettings) Open(ctx context.Context) (Sink, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	facility, ok := facilities[s.Facility]
	if !ok {
		return nil, fmt.Errorf("syslog facility %q is not known", s.Facility)
	}
	h, err := s.handler()
	if err != nil {
		return nil, err
	}
	h.bare = true
	w := &syslogWriter{tag: s.Tag, facility: facility, host: hostName()}
	w.network, w.address, _ = s.address() // checked above
	if w.network == "unixgram" {
		if err := w.connect(ctx); err != nil {
			return nil, fmt.Errorf("syslog: %w; is a syslog running here?", err)
		}
	}
	return newQueued(h, w, "syslog"), nil
}

// hostName returns this machine's name as RFC 5424 wants it.
func hostName() string {
	name, _ := os.Hostname() // without one it is "-"
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, name)
	if name == "" {
		return "-"
	}
	return name[:min(len(name), 255)]
}

// severity returns a level in syslog's terms.
func severity(level slog.Level) int {
	switch {
	case level >= slog.LevelError:
		return 3
	case level >= slog.LevelWarn:
		return 4
	case level >= slog.LevelInfo:
		return 6
	}
	return 7
}

// syslogWriter sends lines to a syslog. One that is down is tried again and again.
type syslogWriter struct {
	network, address string
	tag, host        string
	facility         int
	conn             net.Conn // nil while there is none
}

func (w *syslogWriter) write(ctx context.Context, e entry) error {
	message := w.message(e)
	for pause := syslogRetryFirst; ; pause = min(2*pause, syslogRetryMost) {
		err := w.send(ctx, message)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EMSGSIZE) && len(message) > syslogShort:
			message = shortened(message, syslogShort)
			continue
		}
		w.disconnect()
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// send sends a message once.
func (w *syslogWriter) send(ctx context.Context, message []byte) error {
	if w.conn == nil {
		if err := w.connect(ctx); err != nil {
			return err
		}
	}
	if w.network == "tcp" { // RFC 6587: the length before each message
		message = append([]byte(strconv.Itoa(len(message))+" "), message...)
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(syslogTimeout)) // all these connections have one
	// A write that waits ends with ctx, too: the sink is being closed.
	defer context.AfterFunc(ctx, func() { _ = w.conn.SetWriteDeadline(time.Unix(1, 0)) })()
	_, err := w.conn.Write(message)
	return err
}

func (w *syslogWriter) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syslogTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, w.network, w.address)
	if err == nil {
		w.conn = conn
	}
	return err
}

func (w *syslogWriter) disconnect() {
	if w.conn != nil {
		_ = w.conn.Close() // it is of no use any more
		w.conn = nil
	}
}

func (w *syslogWriter) close() error {
	w.disconnect()
	return nil
}

// message makes the message of an entry: RFC 5424 for the network, and for the machine's
// own syslog the form of the C library, which every one of them reads.
func (w *syslogWriter) message(e entry) []byte {
	at := e.at
	if at.IsZero() {
		at = time.Now()
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<%d>", w.facility*8+severity(e.level))
	if w.network == "unixgram" {
		fmt.Fprintf(&b, "%s %s[%d]: ", at.Local().Format(time.Stamp), w.tag, os.Getpid())
	} else {
		fmt.Fprintf(&b, "1 %s %s %s %d - - ", at.UTC().Format("2006-01-02T15:04:05.000000Z"), w.host, w.tag, os.Getpid())
	}
	b.Write(bytes.TrimSuffix(e.line, []byte("\n")))
	return b.Bytes()
}

// shortened cuts a message to n bytes, and says so at its end.
func shortened(message []byte, n int) []byte {
	const mark = "…"
	n -= len(mark)
	for n > 0 && !utf8.RuneStart(message[n]) {
		n--
	}
	return append(bytes.Clone(message[:n]), mark...)
}
