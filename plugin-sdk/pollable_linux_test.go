package sdk

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPollable(t *testing.T) {
	t.Parallel()
	var fds [2]int
	require.NoError(t, syscall.Pipe2(fds[:], syscall.O_CLOEXEC))
	w := os.NewFile(uintptr(fds[1]), "w")
	defer w.Close()
	r := os.NewFile(uintptr(fds[0]), "stdin") // like os.Stdin: a read of it keeps a thread
	defer r.Close()
	require.ErrorIs(t, r.SetReadDeadline(time.Now()), os.ErrNoDeadline)

	p := pollable(r)
	defer p.Close()
	require.Equal(t, r.Name(), p.Name())
	require.NoError(t, p.SetReadDeadline(time.Now().Add(-time.Second)), "only what is waited for without a thread has deadlines")
	_, err := p.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, p.SetReadDeadline(time.Time{}))
	_, err = w.WriteString("x")
	require.NoError(t, err)
	n, err := p.Read(make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, 1, n)
}
