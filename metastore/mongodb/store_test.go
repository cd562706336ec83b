package mongodb_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/mongotest"
	"github.com/backplane/leptir/metastore"
	"github.com/backplane/leptir/metastore/metastoretest"
	"github.com/backplane/leptir/metastore/mongodb"
)

// open opens the store in a database of the test server. The handle is the caller's to close.
func open(tb testing.TB, database string, change ...func(*mongodb.Settings)) metastore.Store {
	tb.Helper()
	s := mongodb.Defaults()
	s.Connection.URI = settings.Secret(mongotest.URI(tb))
	s.Connection.Database = database
	s.Connection.Timeout = time.Minute
	for _, c := range change {
		c(s)
	}
	st, err := s.Open(tb.Context(), metastore.Env{Name: "test", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(tb, err)
	return st
}

var harness = metastoretest.Harness{
	New: func(tb testing.TB) metastoretest.Place {
		database := mongotest.Database(tb)
		// The built-in server is slow with many new records in a collection that is not there yet.
		require.NoError(tb, mongotest.Client(tb).Database(database).CreateCollection(tb.Context(), "info"))
		return metastoretest.Place{Open: func(tb testing.TB) metastore.Store { return open(tb, database) }}
	},
	Skip: func(name string) string {
		if name == "meta info" && mongotest.Builtin() {
			return "the built-in server (FerretDB) takes no lists within lists; TestMetaInfo does without"
		}
		return ""
	},
}

func TestConformance(t *testing.T) { metastoretest.Run(t, harness) }

func BenchmarkStore(b *testing.B) { metastoretest.Bench(b, harness) }
