package sdk

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRunByHand(t *testing.T) {
	t.Parallel()
	p := &Plugin{Name: "mail", Version: "1.2.3", Commit: "abc", Tasks: []TaskType{
		Type[noop]("mail.send", "Sends a mail."),
		Type[undoable]("mail.subscribe", "Subscribes somebody to a list."),
	}}
	run := func(args ...string) (code int, stdout, stderr string) {
		var out, err bytes.Buffer
		code = runByHand(p, args, &out, &err)
		return code, out.String(), err.String()
	}

	code, stdout, stderr := run("/opt/plugins/mail-plugin")
	require.Equal(t, 0, code)
	require.Empty(t, stderr)
	const about = `mail-plugin is a plugin for leptir (mail 1.2.3). It is started by a leptir host, not by hand.

Its tasks:
  mail.send       Sends a mail.
  mail.subscribe  Subscribes somebody to a list.

To use it, put this file into the plugin_dir of a host's leptir.hcl; the host finds it there.
Then push a task:
  leptirctl push mail.send

  -describe   print the above as JSON
`
	require.Equal(t, about, stdout)

	code, stdout, stderr = run("mail-plugin", "-help")
	require.Equal(t, 0, code)
	require.Empty(t, stdout)
	require.Equal(t, about, stderr)

	code, _, stderr = run("mail-plugin", "-nonsense")
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "-nonsense")

	code, stdout, _ = run("mail-plugin", "-describe")
	require.Equal(t, 0, code)
	var d description
	require.NoError(t, json.Unmarshal([]byte(stdout), &d))
	require.Equal(t, description{Name: "mail", Version: "1.2.3", Commit: "abc", SDK: "go/" + Version, Protocol: 1, Tasks: []taskDescription{
		{Name: "mail.send", Doc: "Sends a mail."},
		{Name: "mail.subscribe", Doc: "Subscribes somebody to a list.", Revertible: true},
	}}, d)

	code, stdout, _ = run()
	require.Equal(t, 0, code, "without even its name")
	require.Contains(t, stdout, "mail is a plugin")
}
