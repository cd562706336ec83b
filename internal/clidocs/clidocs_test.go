package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/ctl"
	"github.com/backplane/leptir/internal/testbin"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

func TestReference(t *testing.T) {
	t.Parallel()
	path := filepath.Join(testbin.Root(), "docs", "cli.md")
	want := reference()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "docs/cli.md is out of date: go test ./internal/clidocs -update")
	for _, part := range []string{"## leptir-host\n", "-config", "## leptirctl push\n", "| `-p NAME=VALUE` |", "## leptirctl dead retry\n", "```sh\nleptirctl run hello.greet"} {
		require.Contains(t, want, part)
	}
}

func TestManPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1800000000")
	dir := filepath.Join(t.TempDir(), "man")
	require.NoError(t, manPages(dir))
	pages := []string{"leptir-host.1"}
	each(ctl.Command(), func(cmd *cobra.Command) {
		pages = append(pages, strings.ReplaceAll(cmd.CommandPath(), " ", "-")+".1")
	})
	require.Greater(t, len(pages), 10)
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(dir, page))
		require.NoError(t, err)
		require.Contains(t, string(text), "Jan 2027", page)
	}
	push, err := os.ReadFile(filepath.Join(dir, "leptirctl-push.1"))
	require.NoError(t, err)
	for _, want := range []string{`\fB-p\fP \fINAME=VALUE\fP`, `\fB-wait\fP` + "\n", `\fB-config\fP \fIFILE\fP`} {
		require.Equal(t, 1, strings.Count(string(push), want), want)
	}
	require.NotContains(t, string(push), `\fB--`)
	again := filepath.Join(t.TempDir(), "man")
	require.NoError(t, manPages(again))
	for _, page := range pages {
		a, err := os.ReadFile(filepath.Join(dir, page))
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(again, page))
		require.NoError(t, err)
		require.Equal(t, string(a), string(b))
	}
	if _, err := exec.LookPath("man"); err != nil {
		t.Skip("there is no man to show them with")
	}
	for _, page := range []string{"leptirctl-push.1", "leptir-host.1"} {
		cmd := exec.Command("man", "--warnings", "-l", page)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "MANWIDTH=100", "MANPAGER=cat", "LC_ALL=C.UTF-8")
		var problems strings.Builder
		cmd.Stderr = &problems
		out, err := cmd.Output()
		require.NoError(t, err, problems.String())
		require.Empty(t, problems.String(), page)
		require.Contains(t, string(out), "config")
	}
}
