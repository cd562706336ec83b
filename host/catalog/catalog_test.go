package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/testbin"

	"github.com/backplane/leptir/host/process"
)

func TestDroppedInWhileRunning(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.options.Rescan = time.Hour // the kernel tells of it
	b.open()
	require.Empty(t, b.Current().Plugins)
	content := chaos(t, "")
	sum := sha256.Sum256(content)
	b.dropPlugin("mailer", "", "mailer.send", "mailer.bounce")
	b.eventually("the plugin is served", func() bool { return b.forType("mailer.send") == "mailer" })
	select {
	case <-b.Changes():
	case <-time.After(20 * time.Second):
		require.Fail(t, "no change was signalled")
	}

	p := b.plugin("mailer")
	require.Equal(t, filepath.Join(b.dir, "mailer"), p.Path)
	require.Equal(t, hex.EncodeToString(sum[:]), p.SHA256)
	require.Equal(t, filepath.Join(b.options.StateDir, "plugins", p.SHA256, "mailer"), p.Staged)
	require.Equal(t, 1, p.Generation)
	require.Equal(t, StatusReady, p.Status)
	require.True(t, p.Serving())
	require.Empty(t, p.Problem)
	require.WithinDuration(t, time.Now(), p.Since, time.Minute)
	require.Equal(t, []string{"mailer.bounce", "mailer.send"}, typeNames(p))
	require.Equal(t, "Type mailer.send.", p.Types[1].Doc)
	require.JSONEq(t, `{"type":"object"}`, string(p.Types[1].ParamsSchema))
	require.LessOrEqual(t, len(p.Version), maxVersionBytes)
	require.NotContains(t, p.Version, "\n")

	fi, err := os.Stat(p.Staged)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o555), fi.Mode(), "run_as needs it to be executable by others")
	for _, dir := range []string{filepath.Dir(p.Staged), filepath.Dir(filepath.Dir(p.Staged))} {
		fi, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), fi.Mode().Perm())
	}
	require.NoError(t, b.run(p.Staged))
	require.Eventually(t, func() bool { return b.options.Launcher.Live() == 0 }, 20*time.Second, time.Millisecond, "the probe's process lives on")
}

func TestReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropPlugin("mailer", "1", "mailer.send")
	b.open()
	first := b.plugin("mailer")
	require.Equal(t, 1, first.Generation)

	b.dropPlugin("mailer", "2", "mailer.send", "mailer.new")
	b.eventually("the new one is served", func() bool { return b.plugin("mailer").Generation == 2 })
	second := b.plugin("mailer")
	require.NotEqual(t, first.SHA256, second.SHA256)
	require.Equal(t, []string{"mailer.new", "mailer.send"}, typeNames(second))
	require.Equal(t, "mailer", b.forType("mailer.new"))
	require.NoError(t, b.run(first.Staged), "processes of the generation before may still be needed")
	require.NoError(t, b.run(second.Staged))

	for i := 3; i <= 4; i++ {
		b.dropPlugin("mailer", strconv.Itoa(i), "mailer.send")
		b.eventually("the next one is served", func() bool { return b.plugin("mailer").Generation == i })
	}
	b.eventually("old copies are removed", func() bool { return len(b.stage.copies()["mailer"]) == 1+keptGood })
	require.NoFileExists(t, first.Staged)
	require.FileExists(t, second.Staged)
}

func TestBadReplacementKeepsTheOld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropPlugin("mailer", "1", "mailer.send")
	b.open()
	first := b.plugin("mailer")

	b.drop("mailer", []byte("this is no program\n"))
	b.eventually("the problem is shown", func() bool { return b.plugin("mailer").Problem != "" })
	p := b.plugin("mailer")
	require.Equal(t, StatusReady, p.Status)
	require.Contains(t, p.Problem, "the file in the plugin folder is not served, an earlier binary is: this machine cannot run it (exec format error)")
	require.Equal(t, first.Staged, p.Staged)
	require.Equal(t, first.Generation, p.Generation)
	require.Equal(t, "mailer", b.forType("mailer.send"))
	require.NoError(t, b.run(p.Staged))

	b.dropPlugin("mailer", "1", "mailer.send")
	b.eventually("the problem is over", func() bool { return b.plugin("mailer").Problem == "" })
	require.Equal(t, 1, b.plugin("mailer").Generation, "it is the same binary")

	b.set("mailer", "LEPTIR_TEST_MODE=exit-at-start")
	b.drop("mailer", chaos(t, "2"))
	b.eventually("the problem is shown", func() bool { return b.plugin("mailer").Problem != "" })
	require.Equal(t, first.SHA256, b.plugin("mailer").SHA256)
	b.set("mailer", "LEPTIR_TEST_MODE=serve")
	b.drop("mailer", chaos(t, "3"))
	b.eventually("a good one is served", func() bool { return b.plugin("mailer").Generation == 2 })
	require.Empty(t, b.plugin("mailer").Problem)
}

func TestDeleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropPlugin("mailer", "1", "mailer.send")
	b.dropPlugin("images", "1", "images.crop")
	b.open()
	require.Len(t, b.Current().Plugins, 2)
	b.remove("mailer")
	b.eventually("it is gone", func() bool { return len(b.Current().Plugins) == 1 })
	require.Empty(t, b.forType("mailer.send"))
	require.Equal(t, "images", b.forType("images.crop"))
	b.eventually("that is logged", func() bool { return b.logged(`msg="plugin is gone" plugin=mailer`) == 1 })

	b.dropPlugin("mailer", "1", "mailer.send")
	b.eventually("it is back", func() bool { return b.forType("mailer.send") == "mailer" })
	require.Equal(t, 2, b.plugin("mailer").Generation, "a generation is never used twice")
}

// What plugins do wrong: each problem is readable, logged once, and no other's.
func TestProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		env        []string
		content    string // instead of a real plugin
	}{
		{name: "text", content: "hello\n", want: "this machine cannot run it (exec format error): it is neither a program for linux/"},
		{name: "empty", content: "", want: "this machine cannot run it (exec format error)"},
		{name: "truncated", content: "\x7fELF\x02\x01\x01", want: "this machine cannot run it (exec format error)"},
		{name: "no-interpreter", content: "#!/nonexistent/python9\n", want: "this machine cannot run it: the interpreter or the loader that it names is missing"},
		{name: "script", content: "#!/bin/sh\necho the moon is down >&2\nexit 3\n", want: "start: handshake: it exited with code 3 before it served; is it a leptir plugin?; its last output: the moon is down"},
		{name: "escapes", content: "#!/bin/sh\nprintf 'a\\033[2Jb\\n' >&2\nexit 3\n", want: "its last output: a�[2Jb"},
		{name: "wrong-version", env: []string{"LEPTIR_TEST_MODE=wrong-version"}, want: "it speaks version 99 of leptir's plugin protocol, this host speaks version 1; rebuild it"},
		{name: "killed", env: []string{"LEPTIR_TEST_MODE=killed-at-start"}, want: "start: handshake: it died of SIGKILL before it served"},
		{name: "describe-error", env: []string{"LEPTIR_TEST_DESCRIBE=error"}, want: "describe: rpc error: code = Unknown desc = no idea what this is"},
		{name: "describe-exit", env: []string{"LEPTIR_TEST_DESCRIBE=exit"}, want: "asked what it serves, its process exited with code 4; its last output: the database is down"},
		{name: "describe-garbage", env: []string{"LEPTIR_TEST_DESCRIBE=garbage"}, want: `its task type number 1: task type "../../etc/\x1b[2Jpasswd" has a character other than letters`},
		{name: "describe-huge", env: []string{"LEPTIR_TEST_DESCRIBE=huge"}, want: "describe: rpc error: code = ResourceExhausted"},
		{name: "no-types", want: "it serves no task types"},
		{name: "twice", env: []string{"LEPTIR_TEST_TYPES=a.b,a.b"}, want: `it names task type "a.b" twice`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.set(tt.name, tt.env...)
			if tt.env == nil && tt.name != "no-types" {
				b.drop(tt.name, []byte(tt.content))
			} else {
				b.drop(tt.name, chaos(t, ""))
			}
			b.open()
			b.rescan() // Open may have waited too short a time on a slow machine
			p := b.plugin(tt.name)
			require.Equal(t, StatusBroken, p.Status)
			require.False(t, p.Serving())
			require.Contains(t, p.Problem, tt.want)
			require.Zero(t, p.Generation)
			require.Empty(t, p.Staged)
			for range 5 {
				b.rescan()
			}
			require.Equal(t, 1, b.logged("plugin has a problem"))
			require.Equal(t, 1, b.logged("plugin="+tt.name))
			require.EqualValues(t, 1, b.stage.hashed.Load())
			require.Equal(t, p.Since, b.plugin(tt.name).Since)
		})
	}
}

// A plugin that never answers keeps nobody else from being served.
func TestHangingProbes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.set("a-start", "LEPTIR_TEST_MODE=never-handshake")
	b.drop("a-start", chaos(t, ""))
	b.set("b-describe", "LEPTIR_TEST_DESCRIBE=hang")
	b.drop("b-describe", chaos(t, ""))
	b.dropPlugin("c-fine", "", "fine.first")
	b.open()
	b.eventually("the fine one is served", func() bool { return b.forType("fine.first") == "c-fine" })
	b.dropPlugin("d-later", "", "fine.later")
	b.eventually("one dropped in later is served", func() bool { return b.forType("fine.later") == "d-later" })
	require.Equal(t, StatusProbing, b.plugin("a-start").Status)
	require.Equal(t, StatusProbing, b.plugin("b-describe").Status)
	begun := time.Now()
	require.NoError(t, b.Close())
	require.Less(t, time.Since(begun), 10*time.Second, "Close waits for probes that hang")
	require.Zero(t, b.logged("plugin has a problem"), "Close is not a plugin's problem")
}

func TestProbeTimeout(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.options.ProbeTimeout = 50 * time.Millisecond
	b.set("slow", "LEPTIR_TEST_DESCRIBE=hang")
	b.drop("slow", chaos(t, ""))
	b.open()
	b.rescan()
	require.Equal(t, "it did not say within 50ms what it serves", b.plugin("slow").Problem)
}

// A copy in progress is not taken up before it is complete.
func TestPartialCopy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.open()
	b.set("mailer", "LEPTIR_TEST_TYPES=mailer.send")
	content := chaos(t, "")
	f, err := os.OpenFile(filepath.Join(b.dir, "mailer"), os.O_CREATE|os.O_WRONLY, 0o700)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.Write(content[:len(content)/2])
	require.NoError(t, err)
	b.eventually("it is seen to be written", func() bool { return strings.Contains(b.plugin("mailer").Problem, "open for writing") })
	for range 3 {
		b.rescan()
	}
	require.Equal(t, StatusProbing, b.plugin("mailer").Status)
	require.Zero(t, b.stage.hashed.Load(), "half a file was read")
	_, err = f.Write(content[len(content)/2:])
	require.NoError(t, err)
	require.NoError(t, f.Close())
	b.eventually("it is served", func() bool { return b.forType("mailer.send") == "mailer" })
	require.EqualValues(t, 1, b.stage.hashed.Load())
	require.Empty(t, b.plugin("mailer").Problem)
}

// A file that goes on growing while it is probed was not complete: that is no problem.
func TestGrowsWhileProbed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.set("mailer", "LEPTIR_TEST_TYPES=mailer.send")
	b.drop("mailer", []byte("#!/bin/sh\nexit 1\n"))
	spec := b.options.Spec
	grow := sync.OnceFunc(func() { b.drop("mailer", chaos(t, "")) })
	b.options.Spec = func(name string) process.Spec {
		grow()
		return spec(name)
	}
	b.open()
	b.eventually("it is served", func() bool { return b.forType("mailer.send") == "mailer" })
	require.EqualValues(t, 2, b.probes.Load())
	require.Zero(t, b.logged("plugin has a problem"))
}

func TestConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropPlugin("b", "", "shared", "b.own")
	b.dropPlugin("c", "", "shared")
	b.open()
	b.rescan()
	require.Equal(t, "b", b.forType("shared"), "the first by name")
	c := b.plugin("c")
	require.Equal(t, StatusConflict, c.Status)
	require.True(t, c.Serving())
	require.Equal(t, `plugin "b" serves task type "shared" already`, c.Problem)
	require.Equal(t, "b", c.Types[0].ServedBy)
	require.Equal(t, StatusReady, b.plugin("b").Status)

	b.dropPlugin("a", "", "shared", "a.own")
	b.eventually("a is served", func() bool { return b.forType("a.own") == "a" })
	require.Equal(t, "b", b.forType("shared"), "who served it first keeps it")
	require.Equal(t, StatusConflict, b.plugin("a").Status)

	b.dropPlugin("b", "2", "shared", "b.own")
	b.eventually("b is replaced", func() bool { return b.plugin("b").Generation == 2 })
	require.Equal(t, "b", b.forType("shared"), "also over a replacement")

	b.remove("b")
	b.eventually("another takes over", func() bool { return b.forType("shared") == "a" })
	require.Equal(t, StatusReady, b.plugin("a").Status)
	require.Equal(t, `plugin "a" serves task type "shared" already`, b.plugin("c").Problem)
}

func TestManyRescansHashOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.options.Rescan = 10 * time.Millisecond
	b.dropPlugin("mailer", "", "mailer.send")
	b.drop("broken", []byte("no program"))
	b.open()
	b.rescan()
	for range 100 {
		b.rescan()
	}
	require.EqualValues(t, 2, b.stage.hashed.Load())
	p := b.plugin("mailer")

	// The same bytes again are read, to see that they are the same, but not probed.
	b.drop("mailer", chaos(t, ""))
	b.eventually("it is read again", func() bool { return b.stage.hashed.Load() == 3 })
	b.rescan()
	require.Equal(t, p, b.plugin("mailer"))
	require.EqualValues(t, 2, b.probes.Load())
}

func TestFolderProblems(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T, dir string) error {
		b := setup(t)
		b.options.Dir = dir
		c, err := Open(t.Context(), b.options)
		if err == nil {
			c.Close()
		}
		return err
	}
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "plugins")
		require.EqualError(t, open(t, dir), `plugin folder "`+dir+`" does not exist; create it or set plugin_dir in host {}`)
	})
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "plugins")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		require.EqualError(t, open(t, file), `plugin folder "`+file+`" is not a folder; set plugin_dir in host {}`)
	})
	t.Run("writable by all", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		require.NoError(t, os.Chmod(dir, 0o1777))
		require.EqualError(t, open(t, dir), `plugin folder "`+dir+`" can be written by everybody, who could make the host run anything; run: chmod go-w "`+dir+`"`)
	})
	t.Run("another folder by mistake", func(t *testing.T) {
		t.Parallel()
		dir := private(t)
		ran := filepath.Join(dir, "ran")
		for i := range maxPlugins + 1 {
			put(t, filepath.Join(dir, "tool"+strconv.Itoa(i)), []byte("#!/bin/sh\ntouch "+ran+"\n"))
		}
		require.EqualError(t, open(t, dir), `plugin folder "`+dir+`" holds 251 executable files, at most 250 are allowed; is it the folder of leptir's plugins?`)
		require.NoFileExists(t, ran)
	})
	t.Run("state folder", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		require.NoError(t, os.Chmod(b.options.StateDir, 0o777))
		_, err := Open(t.Context(), b.options)
		require.ErrorContains(t, err, `state folder "`+b.options.StateDir+`" can be written by everybody`)
	})
	t.Run("cancelled", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.set("slow", "LEPTIR_TEST_MODE=never-handshake")
		b.drop("slow", chaos(t, ""))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := Open(ctx, b.options)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("nothing given", func(t *testing.T) {
		t.Parallel()
		_, err := Open(t.Context(), Options{})
		require.EqualError(t, err, "plugin catalog: no launcher given")
		b := setup(t)
		b.options.Dir = ""
		_, err = Open(t.Context(), b.options)
		require.EqualError(t, err, "plugin catalog: no plugin folder given")
	})
}

// While the folder is away, what it held is served; once it is back, what it holds then.
func TestFolderVanishes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.options.Rescan = 50 * time.Millisecond
	b.dropPlugin("mailer", "1", "mailer.send")
	b.open()
	away := b.dir + "-away"
	require.NoError(t, os.Rename(b.dir, away))
	b.eventually("it is noticed", func() bool { return b.Current().Problem != "" })
	require.Equal(t, `plugin folder "`+b.dir+`" does not exist; create it or set plugin_dir in host {}`, b.Current().Problem)
	require.Equal(t, "mailer", b.forType("mailer.send"))
	require.NoError(t, b.run(b.plugin("mailer").Staged))
	require.ErrorContains(t, b.Rescan(t.Context()), "does not exist")
	require.Equal(t, 1, b.logged("level=ERROR"))

	require.NoError(t, os.Mkdir(b.dir, 0o755))
	b.set("images", "LEPTIR_TEST_TYPES=images.crop")
	b.drop("images", chaos(t, ""))
	b.eventually("the new folder's plugin is served", func() bool { return b.forType("images.crop") == "images" })
	b.eventually("the old one's is not", func() bool { return b.forType("mailer.send") == "" })
	require.Empty(t, b.Current().Problem)
}

func TestReject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropPlugin("mailer", "1", "mailer.send")
	b.open()
	first := b.plugin("mailer")
	b.dropPlugin("mailer", "2", "mailer.send")
	b.eventually("the second is served", func() bool { return b.plugin("mailer").Generation == 2 })
	second := b.plugin("mailer")

	b.Reject("mailer", first.SHA256, "an old story")
	b.Reject("nobody", first.SHA256, "unheard of")
	require.Equal(t, second, b.plugin("mailer"))

	b.Reject("mailer", second.SHA256, "crashed 5 times within 60s:\nSIGSEGV")
	p := b.plugin("mailer")
	require.Equal(t, first.SHA256, p.SHA256, "the binary before takes over at once")
	require.Equal(t, 3, p.Generation)
	require.Equal(t, StatusReady, p.Status)
	require.Equal(t, "the file in the plugin folder is not served, an earlier binary is: crashed 5 times within 60s: SIGSEGV", p.Problem)
	b.rescan()
	require.Equal(t, p, b.plugin("mailer"))

	b.Reject("mailer", first.SHA256, "no database")
	p = b.plugin("mailer")
	require.Equal(t, StatusBroken, p.Status)
	require.Equal(t, "crashed 5 times within 60s: SIGSEGV; an earlier one: no database", p.Problem)
	require.Empty(t, b.forType("mailer.send"))
	b.rescan()
	require.Equal(t, StatusBroken, b.plugin("mailer").Status)

	b.dropPlugin("mailer", "3", "mailer.send")
	b.eventually("a new binary is served", func() bool { return b.plugin("mailer").Generation == 4 })
	require.Empty(t, b.plugin("mailer").Problem)

	b.Reject("mailer", b.plugin("mailer").SHA256, "again")
	require.NotEqual(t, StatusReady, b.plugin("mailer").Status)
	require.NoError(t, os.Chtimes(filepath.Join(b.dir, "mailer"), time.Now(), time.Now()))
	b.eventually("a file written again is tried again", func() bool { return b.plugin("mailer").Generation == 5 })
}

// A host that starts with a bad binary uses the copy of a good one that an earlier host
// has made, if nobody has tampered with it.
func TestEarlierCopyAfterRestart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropPlugin("mailer", "1", "mailer.send")
	b.open()
	good := b.plugin("mailer")
	for i := range 3 { // bad copies do not push out the good one
		b.drop("mailer", []byte("no program "+strconv.Itoa(i)))
		b.rescan()
	}
	require.NoError(t, b.Close())

	b.open()
	b.rescan()
	p := b.plugin("mailer")
	require.Equal(t, StatusReady, p.Status)
	require.Equal(t, good.SHA256, p.SHA256)
	require.Contains(t, p.Problem, "exec format error")
	require.Equal(t, "mailer", b.forType("mailer.send"))

	b.Reject("mailer", p.SHA256, "does not do either")
	b.rescan()
	require.Equal(t, StatusBroken, b.plugin("mailer").Status, "a rejected copy is not taken up again")
	require.NoError(t, b.Close())

	require.NoError(t, os.Chtimes(good.Staged, time.Now(), time.Now()))
	require.NoError(t, os.Chmod(good.Staged, 0o700))
	require.NoError(t, os.WriteFile(good.Staged, chaos(t, "tampered"), 0o500))
	b.open()
	b.rescan()
	require.Equal(t, StatusBroken, b.plugin("mailer").Status)
}

func TestClosed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropPlugin("mailer", "", "mailer.send")
	b.open()
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	require.Equal(t, "mailer", b.forType("mailer.send"), "the last snapshot stays")
	require.EqualError(t, b.Rescan(t.Context()), "rescan the plugin folder: the catalog is closed")
}

// Everything at once, for the race detector.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.options.Rescan = 5 * time.Millisecond
	b.dropPlugin("a", "0", "shared", "a.own")
	b.dropPlugin("b", "0", "shared", "b.own")
	b.open()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-b.Changes():
				case <-time.After(time.Millisecond):
				}
				for _, p := range b.Current().Plugins {
					if p.Serving() && (p.Staged == "" || p.Generation == 0) {
						t.Errorf("served, but of what? %+v", p)
					}
				}
				b.Current().ForType("shared")
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			_ = b.Rescan(t.Context())
		}
	})
	for i := range 3 {
		b.drop("a", chaos(t, strconv.Itoa(i+1)))
		b.Reject("b", b.plugin("b").SHA256, "whatever")
		b.eventually("a is replaced", func() bool { return b.plugin("a").Generation == i+2 })
		require.NoError(t, os.Chtimes(filepath.Join(b.dir, "b"), time.Now(), time.Now()))
		b.eventually("b is served", func() bool { return b.forType("b.own") == "b" })
	}
	close(stop)
	wg.Wait()
}

// A plugin that is nothing but an error reporter is not broken for having no task types.
func TestErrorReporterAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bin, err := os.ReadFile(testbin.Build(t, "examples/reporter"))
	require.NoError(t, err)
	b.drop("reporter", bin)
	b.open()
	b.eventually("it is judged", func() bool { return b.plugin("reporter").Status != StatusProbing })
	p := b.plugin("reporter")
	require.Equal(t, StatusReady, p.Status)
	require.Empty(t, p.Problem)
	require.True(t, p.ErrorReporter)
	require.Empty(t, p.Types)
	require.NotEmpty(t, p.Staged)
}
