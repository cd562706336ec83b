package ctl

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/testbin"
)

// completing are commands that load the script of a shell, have it complete "leptirctl run
// demo.sl", and print what it offers, a word a line.
var completing = map[string][]string{
	// The script asks bash-completion for the words of the command line; what it would
	// answer stands in for it where it is not there.
	"bash": {"--norc", "--noprofile", "-c", `
		if [ -r /usr/share/bash-completion/bash_completion ]; then . /usr/share/bash-completion/bash_completion
		else _get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${words[cword]}; prev=${words[cword-1]}; }
		fi
		source <(leptirctl completion bash) || exit 1
		complete -p leptirctl >/dev/null || exit 1
		compopt() { :; } # is for completions that a user has asked for
		COMP_WORDS=(leptirctl run demo.sl); COMP_CWORD=2; COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_KEY=9
		__start_leptirctl
		printf '%s\n' "${COMPREPLY[@]}"`},
	// Outside of zsh's line editor _describe, which shows the words, has nothing to show
	// them on: here it prints them.
	"zsh": {"-f", "-c", `
		autoload -Uz compinit && compinit -D -u
		source <(leptirctl completion zsh) || exit 1
		[[ $_comps[leptirctl] == _leptirctl ]] || exit 1
		_describe() { print -l -- "${completions[@]}" }
		compdef() { }
		words=(leptirctl run demo.sl); CURRENT=3; BUFFER="$words"; CURSOR=$#BUFFER
		_leptirctl`},
	"fish": {"--no-config", "-c", `leptirctl completion fish | source; or exit 1; complete -C 'leptirctl run demo.sl'`},
}

func TestCompletionInShells(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.plugin("plugins/demo")
	bin := testbin.Build(t, "cmd/leptirctl")
	for shell, args := range completing {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skipf("%s is not installed", shell)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, path, args...)
			cmd.Dir = s.dir
			cmd.Env = []string{"PATH=" + filepath.Dir(bin) + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LEPTIR_CONFIG=" + s.file, "TERM=dumb"}
			var problems strings.Builder
			cmd.Stderr = &problems
			out, err := cmd.Output()
			require.NoError(t, err, "%s%s", out, problems.String())
			require.Empty(t, problems.String())
			var words []string
			for line := range strings.Lines(string(out)) {
				word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
				word, _, _ = strings.Cut(word, ":")
				words = append(words, strings.Fields(word)[0])
			}
			require.ElementsMatch(t, []string{"demo.sleep", "demo.slow"}, words)
		})
	}
}
