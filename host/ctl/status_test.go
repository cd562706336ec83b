package ctl

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

// busy is a site whose brokers have tasks in all states.
func busy(t *testing.T) *site {
	s := newSite(t, twoBrokers)
	b, ctx := s.broker("urgent"), t.Context()
	far := time.Now().Add(time.Hour)
	bury(t, b, task.Task{ID: "dead", Type: "x"}, "failed")
	for i, reason := range []string{"no plugin serves x", "no plugin serves y", "no plugin serves x"} {
		require.NoError(t, b.Push(ctx, []task.Task{{ID: task.ID(fmt.Sprint("parked", i)), Type: "x"}}))
		settle(t, b, lease(t, b, 1)[0], brokers.Release, far, reason)
	}
	require.NoError(t, b.Push(ctx, []task.Task{{ID: "l1", Type: "x"}, {ID: "l2", Type: "x"}}))
	lease(t, b, 2)
	require.NoError(t, b.Push(ctx, []task.Task{{ID: "s", Type: "x", At: far}, {ID: "r", Type: "x"}}))
	return s
}

func TestStatus(t *testing.T) {
	t.Parallel()
	s := busy(t)
	golden(t, "status.txt", s.ok("status"))
	require.JSONEq(t, `{
		"brokers": [
			{"name": "urgent", "kind": "sqlite", "priority": 0, "weight": 1, "rank_weight": 1, "ready": 1, "scheduled": 4, "leased": 2, "dead": 1, "parked": 3,
			 "parked_reasons": [{"reason": "no plugin serves x", "tasks": 2}, {"reason": "no plugin serves y", "tasks": 1}]},
			{"name": "bulk", "kind": "sqlite", "priority": 10, "weight": 0, "rank_weight": 0.5, "ready": 0, "scheduled": 0, "leased": 0, "dead": 0, "parked": 0}
		],
		"meta_storages": [{"name": "records", "kind": "sqlite", "on_failure": "wait"}]
	}`, s.ok("status", "-json"))
	s.ids("x", "-priority", "10")
	require.Contains(t, s.ok("status", "-json"), `"weight": 0.5`)
}

func TestStatusOfAnEmptySite(t *testing.T) {
	t.Parallel()
	golden(t, "status_empty.txt", newSite(t, "").ok("status"))
}

func TestStatusShowsWhatIsDown(t *testing.T) {
	t.Parallel()
	s := broken(t)
	s.ids("x", "-priority", "10")
	r := s.ctl("status")
	require.Equal(t, 1, r.code)
	require.Equal(t, "leptirctl: broker \"urgent\", meta storage \"broken\" cannot be reached\n", r.stderr)
	golden(t, "status_down.txt", r.stdout)

	r = s.ctl("status", "-json")
	require.Equal(t, 1, r.code)
	var report statusReport
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &report))
	require.Contains(t, report.Brokers[0].Error, `broker "urgent": DIR/broken.db is not a database`)
	require.Zero(t, report.Brokers[0].Weight)
	require.Empty(t, report.Brokers[1].Error)
	require.EqualValues(t, 1, report.Brokers[1].Ready)
	require.Equal(t, 0.5, report.Brokers[1].Weight, "the rank stays while another is down")
	require.Contains(t, report.MetaStorages[0].Error, `meta storage "broken": `)
	require.Empty(t, report.MetaStorages[1].Error)
}

func TestOnlyAFewParkedReasonsAreShown(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	b := s.broker("default")
	for i := range 8 {
		require.NoError(t, b.Push(t.Context(), []task.Task{{ID: task.ID(fmt.Sprint(i)), Type: "x"}}))
		settle(t, b, lease(t, b, 1)[0], brokers.Release, time.Now().Add(time.Hour), fmt.Sprintf("no plugin serves \x1b[3%dm", i))
	}
	out := s.ok("status")
	require.Equal(t, parkedShown, strings.Count(out, "parked in \"default\": no plugin serves \\u001b"), out)
}

func TestValidate(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	require.Equal(t, "DIR/leptir.hcl is valid\n", s.ok("validate"))
	require.JSONEq(t, `{"valid": true, "file": "DIR/leptir.hcl", "errors": [], "notes": []}`, s.ok("validate", "-json"))

	s = broken(t)
	require.NoError(t, os.Remove(filepath.Join(s.dir, "plugins")))
	out := s.ok("validate")
	require.Regexp(t, `^DIR/leptir.hcl is valid
note: plugin_dir DIR/plugins does not exist
note: broker "urgent": DIR/broken.db is not a database; [^\n]*
note: meta storage "broken": DIR/broken.db is not a database; [^\n]*
$`, out)
	require.Equal(t, "DIR/leptir.hcl is valid\n", s.ok("validate", "-offline"))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "plugins"), nil, 0o600))
	require.Contains(t, s.ok("validate"), "note: plugin_dir DIR/plugins is not a folder\n")

	s = newSite(t, "")
	s.ok("validate", "-offline")
	_, err := os.Stat(filepath.Join(s.dir, "var"))
	require.ErrorIs(t, err, os.ErrNotExist, "offline opens nothing")
}

func TestValidateShowsAllErrors(t *testing.T) {
	t.Parallel()
	s := newSite(t, "host {\n  number_of_wrkers = 4\n}\nbroker \"sqlite\" \"a\" {\n  priority = \"high\"\n}\n")
	r := s.ctl("validate")
	require.Equal(t, 1, r.code)
	require.Empty(t, r.stdout)
	golden(t, "validate_bad.txt", r.stderr)
	r = s.ctl("validate", "-json")
	require.Equal(t, 1, r.code)
	var v validation
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &v))
	require.False(t, v.Valid)
	require.Equal(t, "DIR/leptir.hcl", v.File)
	require.Len(t, v.Errors, 2)
	require.Equal(t, configError{2, 3, `host has no attribute "number_of_wrkers"; did you mean "number_of_workers"?`}, v.Errors[0])

	r = run(t.Context(), "", "validate", "-config", "/nonexistent/leptir.hcl")
	require.Equal(t, result{1, "", "leptirctl: configuration file: stat /nonexistent/leptir.hcl: no such file or directory\n"}, r)
}
