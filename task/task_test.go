package task_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/task"
)

func TestNewID(t *testing.T) {
	t.Parallel()
	seen := map[task.ID]bool{}
	last := task.ID("")
	for range 10_000 {
		id := task.NewID()
		require.NoError(t, id.Validate())
		require.False(t, seen[id])
		require.Greater(t, id, last, "ids made later sort later")
		seen[id], last = true, id
	}
}

func TestIDValidate(t *testing.T) {
	t.Parallel()
	for _, id := range []task.ID{"a", "0190b6c8-0000-7000-8000-000000000000", "жаба/№7", "';drop-table", `"`, task.ID(strings.Repeat("x", task.MaxIDBytes))} {
		require.NoError(t, id.Validate(), "%q", id)
	}
	for id, want := range map[task.ID]string{
		"":                                       "task id is empty",
		task.ID(strings.Repeat("x", 129)):        "task id is 129 bytes long, at most 128 are allowed",
		"\xff\xfe":                               "task id is not valid UTF-8",
		"a b":                                    `task id "a b" has white space or control characters`,
		"a\n":                                    `task id "a\n" has white space or control characters`,
		"a\x00":                                  `task id "a\x00" has white space or control characters`,
		"a\u00a0b":                               `task id "a\u00a0b" has white space or control characters`,
		"a\u2028b":                               `task id "a\u2028b" has white space or control characters`,
		"\x1b[31mred":                            `task id "\x1b[31mred" has white space or control characters`,
		task.ID("a\u0085" + "b"):                 `task id "a\u0085b" has white space or control characters`,
		task.ID("\u007f"):                        `task id "\x7f" has white space or control characters`,
		task.ID(strings.Repeat("ж", 65)):         "task id is 130 bytes long, at most 128 are allowed",
		task.ID(strings.Repeat("x", 128) + "\n"): "task id is 129 bytes long, at most 128 are allowed",
	} {
		require.EqualError(t, id.Validate(), want, "%q", id)
	}
}

func TestValidateType(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a", "mailer.send", "A_b-9.Z", strings.Repeat("t", task.MaxTypeBytes)} {
		require.NoError(t, task.ValidateType(s), "%q", s)
	}
	for s, want := range map[string]string{
		"":                       "task type is empty",
		strings.Repeat("t", 129): "task type is 129 bytes long, at most 128 are allowed",
		"a b":                    `task type "a b" has a character other than letters, digits, dots, underscores and dashes`,
		"../x":                   `task type "../x" has a character other than letters, digits, dots, underscores and dashes`,
		"жаба":                   `task type "жаба" has a character other than letters, digits, dots, underscores and dashes`,
		"a\x00":                  `task type "a\x00" has a character other than letters, digits, dots, underscores and dashes`,
	} {
		require.EqualError(t, task.ValidateType(s), want, "%q", s)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	good := func(change func(*task.Task)) task.Task {
		tk := task.Task{ID: "t1", Type: "a"}
		change(&tk)
		return tk
	}
	for _, tk := range []task.Task{
		good(func(*task.Task) {}),
		good(func(t *task.Task) { t.Params = json.RawMessage(` {"a":[1,{}]} `) }),
		good(func(t *task.Task) {
			t.Params = json.RawMessage(`{"x":"` + strings.Repeat("x", task.MaxParamsBytes-8) + `"}`)
		}),
		good(func(t *task.Task) { t.TimeLimit = task.NoTimeLimit }),
		good(func(t *task.Task) { t.Priority = -1 << 31 }),
	} {
		require.NoError(t, tk.Validate())
	}
	for _, c := range []struct {
		change func(*task.Task)
		want   string
	}{
		{func(t *task.Task) { t.ID = "" }, "task id is empty"},
		{func(t *task.Task) { t.Type = "" }, "task type is empty"},
		{func(t *task.Task) { t.Params = json.RawMessage(`{`) }, "parameters of task t1 are not valid JSON"},
		{func(t *task.Task) { t.Params = json.RawMessage(`  `) }, "parameters of task t1 are not valid JSON"},
		{func(t *task.Task) { t.Params = json.RawMessage(`{}{}`) }, "parameters of task t1 are not valid JSON"},
		{func(t *task.Task) { t.Params = json.RawMessage(` [1]`) }, "parameters of task t1 are not a JSON object"},
		{func(t *task.Task) { t.Params = json.RawMessage(`null`) }, "parameters of task t1 are not a JSON object"},
		{func(t *task.Task) { t.Params = json.RawMessage(`"{}"`) }, "parameters of task t1 are not a JSON object"},
		{func(t *task.Task) { t.TimeLimit = -time.Second }, "time limit of task t1 is negative (-1s)"},
		{func(t *task.Task) {
			t.Params = json.RawMessage(`{"x":"` + strings.Repeat("x", task.MaxParamsBytes-7) + `"}`)
		}, "parameters of task t1 are 1048577 bytes, at most 1048576 are allowed: too large; put large data elsewhere and pass its address"},
	} {
		tk := good(c.change)
		err := tk.Validate()
		require.EqualError(t, err, c.want)
		if strings.Contains(c.want, "too large") {
			require.ErrorIs(t, err, task.ErrTooLarge)
		}
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	pushed, at := time.Unix(100, 0), time.Unix(50, 0)
	require.True(t, (&task.Task{}).Due().IsZero())
	require.Equal(t, pushed, (&task.Task{PushedAt: pushed}).Due())
	require.Equal(t, at, (&task.Task{PushedAt: pushed, At: at}).Due())
}

func TestReturnCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code   task.ReturnCode
		text   string
		valid  bool
		failed bool
	}{
		{0, "return code 0", false, false},
		{task.Success, "success", true, false},
		{task.Warning, "warning", true, false},
		{task.Error, "error", true, true},
		{task.Unknown, "unknown", true, false},
		{task.TimeLimitExceeded, "time limit exceeded", true, true},
		{6, "return code 6", false, false},
		{-1, "return code -1", false, false},
	} {
		require.Equal(t, c.text, c.code.String())
		require.Equal(t, c.valid, c.code.Valid(), c.text)
		require.Equal(t, c.failed, c.code.Failed(), c.text)
	}
	// The numbers are the original's, and stand in stores.
	require.Equal(t, []task.ReturnCode{1, 2, 3, 4, 5}, []task.ReturnCode{task.Success, task.Warning, task.Error, task.Unknown, task.TimeLimitExceeded})
}

func TestStatus(t *testing.T) {
	t.Parallel()
	require.Equal(t, []task.Status{1, 2, 3}, []task.Status{task.Pending, task.InProgress, task.Completed})
	for s, want := range map[task.Status]string{0: "status 0", 1: "pending", 2: "in progress", 3: "completed", 4: "status 4"} {
		require.Equal(t, want, s.String())
		require.Equal(t, s >= 1 && s <= 3, s.Valid())
	}
}
