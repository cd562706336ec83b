// Command demo shows the main job done for real, on the embedded default: it starts a host
// in a scratch folder, pushes one of each demo task, waits for their records, prints them,
// and ends with exit code 0 only if each is as it should be. `make demo` builds what it
// needs and runs it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/backplane/leptir/task"
)

// step is one task of the demonstration and what its record must say.
type step struct {
	args []string
	rc   task.ReturnCode
	note string // what it shows
	want string // part of respM, or of the exit
}

var steps = []step{
	{[]string{"demo.test", "-p", "to=ann", "-p", "n=3"}, task.Success, "parameters, states, meta info", "ann"},
	{[]string{"demo.noop"}, task.Success, "the shortest task", ""},
	{[]string{"demo.sleep", "-p", "seconds=1.5"}, task.Success, "a task that takes its time", ""},
	{[]string{"demo.sleep", "-p", "seconds=0.1", "-delay", "2s"}, task.Success, "scheduled 2 s ahead", ""},
	{[]string{"demo.slow"}, task.Success, "6 to 19 seconds of work", ""},
	{[]string{"demo.error", "-p", "message=no such mailbox"}, task.Error, "returns an error", "no such mailbox"},
	{[]string{"demo.panic"}, task.Error, "panics", ""},
	{[]string{"demo.crash"}, task.Error, "its process dies of SIGSEGV", "SIGSEGV"},
	{[]string{"demo.spin", "-time-limit", "1s"}, task.TimeLimitExceeded, "spins, with a child, for ever", "time limit of 1s exceeded"},
}

const configuration = `host {
  plugin_dir      = %q
  task_execution_time = 60
}

logger "file" "log" {
  path = "host.log"
}
`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		os.Exit(1)
	}
}

func run() error {
	bin, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "leptir-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	conf := filepath.Join(dir, "leptir.hcl")
	if err := os.WriteFile(conf, fmt.Appendf(nil, configuration, filepath.Join(bin, "plugins")), 0o600); err != nil {
		return err
	}
	ctl := func(args ...string) (string, error) {
		var out, problem bytes.Buffer
		cmd := exec.Command(filepath.Join(bin, "leptirctl"), append(args, "-config", conf)...)
		cmd.Stdout, cmd.Stderr = &out, &problem
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("leptirctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(problem.String()))
		}
		return strings.TrimSpace(out.String()), nil
	}

	fmt.Println("A host on the embedded default (SQLite), in", dir)
	host := exec.Command(filepath.Join(bin, "leptir-host"), "-config", conf)
	var problem bytes.Buffer
	host.Stderr = &problem
	if err := host.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- host.Wait() }()
	kill := sync.OnceFunc(func() { _ = host.Process.Kill(); <-ended })
	defer kill()

	var ids []string
	for _, s := range steps {
		id, err := ctl(append([]string{"push"}, s.args...)...)
		if err != nil {
			return err
		}
		ids = append(ids, id)
		fmt.Printf("  leptirctl push %-38s %s\n", strings.Join(s.args, " "), id)
	}
	fmt.Println("Waiting for their records (demo.slow takes up to 19 s) …")

	bad := 0
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\ntype\tstatus\tretC\texTime\tprocess\trespM\tshows\t")
	for i, s := range steps {
		out, err := ctl("task", ids[i], "-wait", "-timeout", "60s")
		if err != nil {
			return errors.Join(err, logTail(dir))
		}
		var r task.Record
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			return fmt.Errorf("leptirctl task printed no record: %w: %s", err, out)
		}
		verdict := "as it should be"
		if r.Status != task.Completed || r.RetC != s.rc || !strings.Contains(r.RespM, s.want) {
			verdict = fmt.Sprintf("WRONG: want status 3, retC %d, %q in respM", s.rc, s.want)
			bad++
		}
		fmt.Fprintf(table, "%s\t%d\t%d %s\t%.3f\t%d\t%.48s\t%s: %s\t\n", r.Type, r.Status, r.RetC, r.RetC, r.ExTime, r.Run.Process, r.RespM, s.note, verdict)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	status, err := ctl("status")
	if err != nil {
		return err
	}
	fmt.Printf("\n$ leptirctl status\n%s\n\n", status)

	if err := host.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-ended:
		ended <- err
		if err != nil {
			return fmt.Errorf("the host ended badly: %w: %s", err, problem.String())
		}
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("the host did not end within 30 s of SIGTERM"), logTail(dir))
	}
	if bad > 0 {
		return errors.Join(fmt.Errorf("%d of %d records are not as they should be", bad, len(steps)), logTail(dir))
	}
	fmt.Printf("All %d records are as they should be; the host has ended cleanly.\n", len(steps))
	return nil
}

// logTail returns the end of the host's log as an error's text.
func logTail(dir string) error {
	b, _ := os.ReadFile(filepath.Join(dir, "host.log"))
	return fmt.Errorf("the host's log ends with:\n%s", b[max(0, len(b)-4000):])
}
