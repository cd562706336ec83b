package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
)

func parse(t *testing.T, source string) *config.Config {
	t.Helper()
	c, err := config.Parse([]byte(source), "/etc/leptir/leptir.hcl", testKinds())
	require.NoError(t, err)
	return c
}

const before = `
host {
  name              = "h"
  number_of_workers = 4
  kill_grace        = 1
}
broker "server" "mail" {
  priority = 1
  uri      = "server://u:hunter2@x"
  headers  = { Authorization = "hunter2" }
  connection {
    address  = "db:1"
    password = "hunter2"
    pool {
      size = 5
    }
  }
}
logger "file" "main" {
  path = "x.log"
}
logger "stderr" "console" {}
plugin "demo" {
  arguments   = ["-v"]
  environment = { MODE = "hunter2" }
}
task_alias = { Old = "demo.test" }
`

func TestDiff(t *testing.T) {
	t.Parallel()
	after := strings.NewReplacer(
		"number_of_workers = 4", "number_of_workers = 16",
		"kill_grace        = 1", "kill_grace = \"1m\"",
		"priority = 1", "priority = -1",
		"server://u:hunter2@x", "server://u:hunter3@x",
		`Authorization = "hunter2"`, `Authorization = "hunter3"`,
		`address  = "db:1"`, `address = "db:2"`,
		`password = "hunter2"`, `password = "hunter3"`,
		"pool {\n      size = 5\n    }", "",
		`logger "file" "main" {`, "logger \"file\" \"main\" {\n  format = \"json\"",
		`logger "stderr" "console" {}`, `logger "stdout" "console2" {}`,
		`["-v"]`, `["-v", "-x"]`,
		`MODE = "hunter2"`, `MODE = "hunter3"`,
		`Old = "demo.test"`, `Old = "demo.noop"`,
	).Replace(before)
	var got []string
	for _, c := range config.Diff(parse(t, before), parse(t, after)) {
		got = append(got, c.String())
	}
	require.Equal(t, []string{
		`task_alias: { Old = "demo.test" } → { Old = "demo.noop" }`,
		`host: number_of_workers: 4 → 16`,
		`host: kill_grace: "1s" → "1m"`,
		`broker "server" "mail": priority: 1 → -1`,
		`broker "server" "mail": uri changed`,
		`broker "server" "mail": connection.address: "db:1" → "db:2"`,
		`broker "server" "mail": connection.password changed`,
		`broker "server" "mail": headers changed`,
		`broker "server" "mail": connection.pool.size: 5 → none`,
		`broker "server" "mail": connection.pool.idle: 0 → none`,
		`logger "file" "main": format: "text" → "json"`,
		`logger "stdout" "console2" added`,
		`plugin "demo": kill_grace: "1s" → "1m"`,
		`plugin "demo": max_processes: 4 → 16`,
		`plugin "demo": environment changed`,
		`plugin "demo": arguments: ["-v"] → ["-v", "-x"]`,
		`logger "stderr" "console" removed`,
	}, got)
}

// A configuration differs from itself in nothing, and not from what means the same.
func TestNoDiff(t *testing.T) {
	t.Parallel()
	require.Empty(t, config.Diff(parse(t, before), parse(t, before)))
	require.Empty(t, config.Diff(parse(t, before), parse(t, before+"\n# a comment\n")))
	same := strings.Replace(before, "number_of_workers = 4", "number_of_workers = 4\n  state_dir = \"var/leptir\"\n  shutdown_timeout = \"30s\"", 1)
	require.Empty(t, config.Diff(parse(t, before), parse(t, same)))
	require.Empty(t, config.Diff(parse(t, ""), parse(t, "task_alias = {}")))
	for _, path := range goldenFiles(t, "*.good.hcl", 10) {
		c, err := config.Load(path, testKinds())
		require.NoError(t, err)
		again, err := config.Load(path, testKinds())
		require.NoError(t, err)
		require.Empty(t, config.Diff(c, again), path)
	}
}
