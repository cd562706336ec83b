package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	goplugin "github.com/hashicorp/go-plugin"

	"github.com/backplane/leptir/internal/protocol"
)

// maxHandshakeLine bounds a line on a plugin's real stdout that could be the handshake.
// With a TLS certificate in it, one is about 1 KiB long.
const maxHandshakeLine = 16 << 10

// errNoHandshake says that a line is no handshake at all, but something the plugin
// printed.
var errNoHandshake = errors.New("not a handshake line")

// parseHandshake checks go-plugin's handshake line, "core|version|network|address|grpc"
// and what may follow. The line comes from an untrusted process. A line that does not look
// like one gives errNoHandshake; one that does, but that this host cannot accept, gives an
// error that says why.
func parseHandshake(line string) error {
	parts := strings.Split(strings.TrimSpace(line), "|")
	if len(parts) < 4 {
		return errNoHandshake
	}
	core, err := strconv.Atoi(parts[0])
	if err != nil {
		return errNoHandshake
	}
	version, err := strconv.Atoi(parts[1])
	if err != nil {
		return errNoHandshake
	}
	if parts[2] != "unix" && parts[2] != "tcp" {
		return errNoHandshake
	}
	if core != goplugin.CoreProtocolVersion {
		return fmt.Errorf("it speaks go-plugin's core protocol %d, this host speaks %d; rebuild it with a current SDK", core, goplugin.CoreProtocolVersion)
	}
	if version != protocol.Version {
		return fmt.Errorf("it speaks version %d of leptir's plugin protocol, this host speaks version %d; rebuild it with the SDK of this host's version", version, protocol.Version)
	}
	if parts[2] != "unix" {
		return fmt.Errorf("it listens on %s, which any local process could reach; only unix sockets in its PLUGIN_UNIX_SOCKET_DIR are accepted", parts[2])
	}
	if len(parts) < 5 || parts[4] != "grpc" {
		return errors.New("it does not speak gRPC; only gRPC plugins are served")
	}
	return nil
}

// filterStdout reads a plugin's real stdout to its end. The first acceptable handshake
// line goes to handshake, which is closed after it; every other line, before or after,
// goes to out. refused gets the error of a line that is a handshake that cannot be
// accepted. It returns when the pipe ends.
func filterStdout(stdout io.Reader, handshake *io.PipeWriter, out *lineWriter, refused func(error)) {
	defer handshake.Close()
	br := bufio.NewReaderSize(stdout, maxHandshakeLine)
	for {
		// ReadSlice gives up at the buffer's size: such a line is no handshake.
		line, err := br.ReadSlice('\n')
		if err == nil {
			switch herr := parseHandshake(string(line)); {
			case herr == nil:
				_, _ = handshake.Write(line)
				_ = handshake.Close()
				_, _ = io.Copy(out, br)
				return
			case !errors.Is(herr, errNoHandshake):
				refused(herr)
			}
		}
		_, _ = out.Write(line)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}
