// Package standard names the kinds of stores of task records that a stock host knows. It is
// the one place to add a line for a new kind.
package standard

import (
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/metastore/mongodb"
	"github.com/backplane/leptir/metastore/redis"
	"github.com/backplane/leptir/metastore/sqlite"
)

// Registry returns the kinds of stores that a stock host knows.
func Registry() *metastore.Registry {
	return metastore.NewRegistry(
		mongodb.Kind,
		redis.Kind,
		sqlite.Kind,
	)
}
