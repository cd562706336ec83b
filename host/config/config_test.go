package config_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/config"
	"github.com/backplane/leptir/host/logging"
	reporters "github.com/backplane/leptir/host/report/standard"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/metastore"
)

// The settings below stand for those of real back ends; nothing here opens them.
var errNotOpened = errors.New("only decoded in these tests")

// Place implements brokers.Placer.
func (b *fileBroker) Place() string { return filepath.Clean(string(b.Path)) }

type fileBroker struct {
	Path        settings.Path  `config:"path" doc:"The database file."`
	Synchronous string         `config:"synchronous" oneof:"full|normal" doc:"How durable a commit is."`
	BusyTimeout time.Duration  `config:"busy_timeout" min:"0.001" max:"10m" doc:"How long to wait for a lock."`
	CacheSize   settings.Bytes `config:"cache_size" min:"64KiB" max:"1GiB" doc:"Memory for the cache."`
}

func (*fileBroker) Open(context.Context, brokers.Env) (brokers.Broker, error) {
	return nil, errNotOpened
}

// retry is embedded: its attributes stand among those of the struct around it.
type retry struct {
	Retries int     `config:"retries" min:"0" max:"10" doc:"How often a query is tried again."`
	Jitter  float64 `config:"jitter" min:"0" max:"1" doc:"How much of a pause is random."`
}

type connection struct {
	Address  string          `config:"address,required" doc:"Host and port."`
	Username string          `config:"username" doc:"The user."`
	Password settings.Secret `config:"password" doc:"The password."`
	Pool     *pool           `config:"pool,block" doc:"The pool of connections."`
}

type pool struct {
	Size int           `config:"size,required" min:"1" doc:"The most connections."`
	Idle time.Duration `config:"idle" doc:"How long an idle one is kept."`
}

type serverBroker struct {
	URI        settings.Secret   `config:"uri" doc:"The address in one text, in place of connection."`
	Connection connection        `config:"connection,block" doc:"The connection."`
	TLS        *tlsSettings      `config:"tls,block" doc:"Encryption."`
	Options    map[string]string `config:"options" doc:"Driver options."`
	Headers    map[string]string `config:"headers,secret" doc:"Sent with every request."`
	Queues     []string          `config:"queues" doc:"Queues to read."`
	Keys       []string          `config:"keys,secret" doc:"Accepted keys."`
	Tokens     []settings.Secret `config:"tokens" doc:"Tokens to try."`
	Exclusive  bool              `config:"exclusive" doc:"Whether nobody else reads the queue."`
	Limit      int64             `config:"limit" max:"9007199254740993" doc:"A number."`
	retry
}

type tlsSettings struct {
	CA       settings.Path `config:"ca" doc:"The file of the authority."`
	Insecure bool          `config:"insecure" doc:"Whether any certificate will do."`
}

func (*serverBroker) Open(context.Context, brokers.Env) (brokers.Broker, error) {
	return nil, errNotOpened
}

func (s *serverBroker) Validate() error {
	var errs []error
	if s.URI != "" && s.Connection.Username != "" {
		errs = append(errs, fmt.Errorf("uri and username exclude each other: parse %s: in %q", s.URI.Reveal(), s.URI.Reveal()))
	}
	if s.Exclusive && len(s.Queues) == 0 {
		errs = append(errs, errors.New("exclusive needs queues"))
	}
	return errors.Join(errs...)
}

type recordStore struct {
	Path settings.Path `config:"path" doc:"The database file."`
}

func (*recordStore) Open(context.Context, metastore.Env) (metastore.Store, error) {
	return nil, errNotOpened
}

type keyStore struct {
	Token   settings.Secret `config:"token,required" doc:"The access token."`
	Expires time.Duration   `config:"expire_after" doc:"How long a record is kept."`
}

func (*keyStore) Open(context.Context, metastore.Env) (metastore.Store, error) {
	return nil, errNotOpened
}

// testKinds returns kinds for tests: two brokers, two meta storages, the real loggers.
func testKinds() config.Kinds {
	return config.Kinds{
		Brokers: brokers.NewRegistry(
			brokers.Kind{Name: "sqlite", Doc: "A file.", New: func() brokers.Settings {
				return &fileBroker{Path: "var/leptir.db", Synchronous: "normal", BusyTimeout: 5 * time.Second, CacheSize: 2 << 20}
			}},
			brokers.Kind{Name: "server", Doc: "A server.", New: func() brokers.Settings {
				return &serverBroker{
					Connection: connection{Address: "localhost:1"},
					Options:    map[string]string{"mode": "fast"},
					Queues:     []string{"tasks"},
					retry:      retry{Retries: 3, Jitter: 0.5},
				}
			}},
		),
		MetaStorages: metastore.NewRegistry(
			metastore.Kind{Name: "sqlite", Doc: "A file.", New: func() metastore.Settings { return &recordStore{Path: "var/leptir.db"} }},
			metastore.Kind{Name: "keys", Doc: "A server.", New: func() metastore.Settings { return &keyStore{Expires: 24 * time.Hour} }},
		),
		Loggers:        logging.Standard(),
		ErrorReporting: reporters.Registry(),
	}
}
