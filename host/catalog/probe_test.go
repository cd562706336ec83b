package catalog

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestExplainAnswer(t *testing.T) {
	t.Parallel()
	describe := func(err error) error { return fmt.Errorf("plugin %q: describe: %w", "mailer", err) }
	for want, err := range map[string]error{
		`task type "mailer.send": the type of its parameters: n`: describe(status.Error(codes.FailedPrecondition, `plugin "mailer": task type "mailer.send": the type of its parameters: n`)),
		`plugin "other": no`: describe(status.Error(codes.FailedPrecondition, `plugin "other": no`)),
		`describe: rpc error: code = Unimplemented desc = unknown`: describe(status.Error(codes.Unimplemented, "unknown")),
		`describe: broken`: describe(errors.New("broken")),
		`bare`:             errors.New("bare"),
	} {
		require.EqualError(t, explainAnswer(err, "mailer"), want)
	}
}
