package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/backplane/leptir/host/process/sandbox"
)

// A plugin whose processes fork, leave their group and end again and again is gone once it is
// killed, with all that it has started: by every way of killing that there is. Where no group
// can be made, a chain that leaves the session with every link must not be faster than the
// host looks.
func TestStorm(t *testing.T) {
	t.Parallel()
	v2 := machine(t)
	for _, c := range []struct {
		name    string
		machine *sandbox.Machine
		storms  []string
	}{
		{"version 2", v2, []string{"storm-8-0-each", "storm-16-2000-each"}},
		{"version 1", v2.WithoutVersion2(), []string{"storm-8-0-each", "storm-16-2000-each"}},
		{"no groups", v2.WithoutGroups(), []string{"storm-8-0-once", "storm-16-2000-once", "storm-4-20000-each"}},
	} {
		for _, storm := range c.storms {
			if strings.HasPrefix(storm, "storm-8-0-") && os.Getenv("LEPTIR_FIGURES") == "" {
				continue // make isolation: it can take all process ids of the machine for a moment
			}
			t.Run(c.name+" "+storm, func(t *testing.T) {
				if c.name != "no groups" && !c.machine.Groups() {
					t.Skip("no such groups can be made here")
				}
				b := setupOn(t, c.machine)
				file := filepath.Join(t.TempDir(), "lock")
				living := func() bool {
					f, err := lockFile(file, 0)
					if err == nil {
						f.Close()
					}
					return errors.Is(err, unix.EWOULDBLOCK)
				}
				p := b.limited(t, sandbox.Limits{NoNewPrivs: true}, "LEPTIR_TEST_PIDFILE="+file)
				do(t, p, storm)
				require.Eventually(t, living, 20*time.Second, time.Millisecond)
				time.Sleep(100 * time.Millisecond) // let it rage
				began := time.Now()
				p.Kill(ReasonTimeout, "")
				waitFor(t, "the end", p.Done())
				took := time.Since(began)
				drain(p)
				waitFor(t, "its remains", p.Gone())
				require.Eventually(t, func() bool { return !living() }, 20*time.Second, time.Millisecond, "processes remain")
				t.Log(fmt.Sprint("dead after ", took, ", all of it after ", time.Since(began)))
			})
		}
	}
}
