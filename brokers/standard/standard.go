// Package standard names the kinds of brokers that a stock host knows. It is the one place
// to add a line for a new kind.
package standard

import (
	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/mongodb"
	"github.com/backplane/leptir/brokers/redis"
	"github.com/backplane/leptir/brokers/sqlite"
	"github.com/backplane/leptir/brokers/sqs"
)

// Registry returns the kinds of brokers that a stock host knows.
func Registry() *brokers.Registry {
	return brokers.NewRegistry(
		mongodb.Kind,
		redis.Kind,
		sqlite.Kind,
		sqs.Kind,
	)
}
