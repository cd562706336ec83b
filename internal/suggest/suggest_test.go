package suggest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/suggest"
)

func TestName(t *testing.T) {
	t.Parallel()
	names := []string{"path", "priority", "number", "task_count_caching_time", "p"}
	for typed, want := range map[string]string{
		"pathh":                  "path",
		"PATH":                   "path",
		"priorty":                "priority",
		"prio":                   "priority", // begun
		"task_count_cachng_tyme": "task_count_caching_time",
		"xyz":                    "",
		"":                       "",
		"q":                      "", // one letter away from p, but that is all of it
		strings.Repeat("p", 100): "",
	} {
		require.Equal(t, want, suggest.Name(typed, names), typed)
	}
	require.Empty(t, suggest.Name("path", nil))
}
