package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const clockProgram = `package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

func main() {
	began := time.Now()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(time.Now().Unix(), int(time.Since(began).Hours()))
	}
}
`

// A program that is built with the overlay has the wall clock that it is told, and a
// monotonic clock that does not follow it.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, err := overlay(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(clockProgram), 0o600))
	out, err := exec.Command("go", "build", "-overlay", file, "-o", filepath.Join(dir, "program"), filepath.Join(dir, "main.go")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	c, err := newClock(filepath.Join(dir, "clock"))
	require.NoError(t, err)

	cmd := exec.Command(filepath.Join(dir, "program"))
	cmd.Env = append(os.Environ(), envClock+"="+c.file)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	answers, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	buf := make([]byte, 100)
	for _, ahead := range []int{0, 36000, -36000, 0} {
		c.set(ahead)
		require.Equal(t, ahead, c.seconds())
		_, err := in.Write([]byte("\n"))
		require.NoError(t, err)
		n, err := answers.Read(buf)
		require.NoError(t, err)
		f := strings.Fields(string(buf[:n]))
		unix, err := strconv.ParseInt(f[0], 10, 64)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(time.Duration(ahead)*time.Second), time.Unix(unix, 0), time.Minute)
		require.Equal(t, "0", f[1], "hours by the monotonic clock")
	}
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
}
