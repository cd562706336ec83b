package standard_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/config/standard"
)

func Example() {
	cfg, err := config.Parse([]byte(`broker "redis" "jobs" {}`), "leptir.hcl", standard.Kinds())
	fmt.Println(len(cfg.Brokers), cfg.Brokers[0].Kind, err)
	// Output: 1 redis <nil>
}

// A registry that is left out would refuse every block of its sort.
func TestEverySortHasKinds(t *testing.T) {
	t.Parallel()
	v := reflect.ValueOf(standard.Kinds())
	for i := range v.NumField() {
		require.False(t, v.Field(i).IsNil(), v.Type().Field(i).Name)
	}
}
