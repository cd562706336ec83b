package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	goredis "github.com/redis/go-redis/v9"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/mongodb"
	"github.com/backplane/leptir/brokers/redis"
	"github.com/backplane/leptir/brokers/sqlite"
	brokersqs "github.com/backplane/leptir/brokers/sqs"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/mongotest"
	"github.com/backplane/leptir/internal/testservers/redisserver"
	"github.com/backplane/leptir/internal/testservers/sqstest"
	"github.com/backplane/leptir/metastore"
	storemongodb "github.com/backplane/leptir/metastore/mongodb"
	storeredis "github.com/backplane/leptir/metastore/redis"
)

func newBackend() *backend {
	return &backend{full: map[Kind]filler{}, locked: map[Kind]string{}}
}

// open opens the queue twice: straight, and as producers reach it.
func (b *backend) open(ctx context.Context, straight, producer brokers.Settings) (err error) {
	env := brokers.Env{Name: "torture", Logger: discard}
	if b.broker, err = straight.Open(ctx, env); err != nil {
		return err
	}
	b.closers = append(b.closers, func() { _ = b.broker.Close() })
	if b.producer, err = producer.Open(ctx, env); err != nil {
		return err
	}
	b.closers = append(b.closers, func() { _ = b.producer.Close() })
	return nil
}

// openSQLite has the queue and the records in a file each, each on a volume of its own.
func openSQLite(ctx context.Context, s *surroundings) (*backend, error) {
	b := newBackend()
	dir, fill, err := s.volume(b, "queue", 256<<20)
	if err != nil {
		return b, err
	}
	file := filepath.Join(dir, "queue.db")
	if fill != nil {
		b.full[QueueFull] = fill
	}
	b.locked[QueueLocked] = file
	set := sqlite.Defaults()
	set.Path = settings.Path(file)
	if err := b.open(ctx, set, set); err != nil {
		return b, err
	}
	records, err := s.recordsOnFile(ctx, b)
	b.blocks = func(int) string {
		return fmt.Sprintf("\nbroker \"sqlite\" \"torture\" {\n  path = %q\n}\n", file) + records
	}
	return b, err
}

// openRedis has the queue on one server and the records on another; both write every change
// to disk before they answer.
func openRedis(ctx context.Context, s *surroundings) (*backend, error) {
	b := newBackend()
	b.killable = true
	launch := func(name string) (*redisserver.Server, *goredis.Client, []*link, error) {
		dir := filepath.Join(s.dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, nil, nil, err
		}
		r, err := redisserver.Launch(dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%w: %w", errNoServer, err)
		}
		b.closers = append(b.closers, r.Kill)
		c := goredis.NewClient(&goredis.Options{Addr: r.Addr()})
		b.closers = append(b.closers, func() { _ = c.Close() })
		links, err := s.linksTo(name, r.Addr())
		return r, c, links, err
	}
	queue, queueClient, queueLinks, err := launch("queue")
	if err != nil {
		return b, err
	}
	records, recordsClient, storeLinks, err := launch("records")
	if err != nil {
		return b, err
	}
	b.queueLinks, b.storeLinks = queueLinks, storeLinks
	b.server, b.storeServer = redisProcess(queue), redisProcess(records)
	b.full[QueueFull], b.full[StoreFull] = redisFull(queueClient), redisFull(recordsClient)

	at := func(addr string) *redis.Settings {
		set := redis.Defaults()
		set.Connection.Host, set.Connection.Port = "127.0.0.1", port(addr)
		return set
	}
	if err := b.open(ctx, at(queue.Addr()), at(queueLinks[s.hosts].addr())); err != nil {
		return b, err
	}
	set := storeredis.Defaults()
	set.Connection.Host, set.Connection.Port = "127.0.0.1", records.Port
	st, err := set.Open(ctx, metastore.Env{Name: "redis", Logger: discard})
	if err != nil {
		return b, err
	}
	b.stores = append(b.stores, store{"redis", st})
	b.closers = append(b.closers, func() { _ = st.Close() })
	b.blocks = func(i int) string {
		block := "\n%s \"redis\" \"torture\" {\n  connection {\n    host = \"127.0.0.1\"\n    port = %d\n  }\n}\n"
		return fmt.Sprintf(block, "broker", port(queueLinks[i].addr())) + fmt.Sprintf(block, "meta_storage", port(storeLinks[i].addr()))
	}
	return b, nil
}

func redisProcess(r *redisserver.Server) *server {
	return &server{kill: func() error { r.Kill(); return nil }, start: r.Relaunch, pid: r.PID}
}

// redisFull makes a server refuse what needs memory.
func redisFull(c *goredis.Client) filler {
	set := func(value string) error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return c.ConfigSet(ctx, "maxmemory", value).Err()
	}
	return func() (func() error, error) {
		undo := func() (err error) {
			for range 20 { // it may have been killed meanwhile, which heals it as well
				if err = set("0"); err == nil {
					return nil
				}
				time.Sleep(250 * time.Millisecond)
			}
			return err
		}
		return undo, set("1mb")
	}
}

// openMongoDB has the queue on a server that speaks MongoDB's protocol, and the records
// there, in another database (the server works on each by itself), and in a file.
func openMongoDB(ctx context.Context, s *surroundings) (*backend, error) {
	b := newBackend()
	uri, stop, err := mongotest.Launch()
	if err != nil {
		return b, fmt.Errorf("%w: %w", errNoServer, err)
	}
	b.closers = append(b.closers, func() { _ = stop() })
	addr, err := addrOf(uri)
	if err != nil {
		return b, err
	}
	b.server = &server{pid: childWith("/mongoserver-")}
	if b.queueLinks, err = s.linksTo("queue", addr); err != nil {
		return b, err
	}
	if b.storeLinks, err = s.linksTo("records", addr); err != nil {
		return b, err
	}
	at := func(addr string) string { return "mongodb://" + addr + "/?directConnection=true" }
	queueAt := func(addr string) *mongodb.Settings {
		set := mongodb.Defaults()
		set.Connection.URI, set.Connection.Database = settings.Secret(at(addr)), "queue"
		return set
	}
	if err := b.open(ctx, queueAt(addr), queueAt(b.queueLinks[s.hosts].addr())); err != nil {
		return b, err
	}
	set := storemongodb.Defaults()
	set.Connection.URI, set.Connection.Database = settings.Secret(at(addr)), "records"
	st, err := set.Open(ctx, metastore.Env{Name: "mongodb", Logger: discard})
	if err != nil {
		return b, err
	}
	b.stores = append(b.stores, store{"mongodb", st})
	b.closers = append(b.closers, func() { _ = st.Close() })
	file, err := s.recordsOnFile(ctx, b)
	b.blocks = func(i int) string {
		block := "\n%s \"mongodb\" \"torture\" {\n  connection {\n    uri      = %q\n    database = %q\n  }\n}\n"
		return fmt.Sprintf(block, "broker", at(b.queueLinks[i].addr()), "queue") + fmt.Sprintf(block, "meta_storage", at(b.storeLinks[i].addr()), "records") + file
	}
	return b, err
}

// openSQS has the queue on a server that speaks SQS's protocol, and the records in a file.
func openSQS(ctx context.Context, s *surroundings) (*backend, error) {
	b := newBackend()
	srv, stop, err := sqstest.Launch()
	if err != nil {
		return b, fmt.Errorf("%w: %w", errNoServer, err)
	}
	b.closers = append(b.closers, func() { _ = stop() })
	addr, err := addrOf(srv.Endpoint)
	if err != nil {
		return b, err
	}
	if strings.HasPrefix(addr, "127.0.0.1:") {
		b.server = &server{pid: childWith("start.mjs")}
	}
	if b.queueLinks, err = s.linksTo("queue", addr); err != nil {
		return b, err
	}
	var urls []string
	for _, name := range []string{"torture", "torture-dead"} {
		out, err := srv.Client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})
		if err != nil {
			return b, err
		}
		urls = append(urls, *out.QueueUrl)
	}
	at := func(addr string) *brokersqs.Settings {
		set := brokersqs.Defaults()
		set.Connection = brokersqs.Connection{Queue: urls[0], DeadQueue: urls[1], Key: srv.Key, Secret: settings.Secret(srv.Secret),
			Region: srv.Region, Endpoint: "http://" + addr}
		return set
	}
	if err := b.open(ctx, at(addr), at(b.queueLinks[s.hosts].addr())); err != nil {
		return b, err
	}
	records, err := s.recordsOnFile(ctx, b)
	b.blocks = func(i int) string {
		return fmt.Sprintf(`
broker "sqs" "torture" {
  connection {
    sqs_queue      = %q
    sqs_dead_queue = %q
    sqs_key        = %q
    sqs_secret     = %q
    region         = %q
    endpoint       = %q
  }
}
`, urls[0], urls[1], srv.Key, srv.Secret, srv.Region, "http://"+b.queueLinks[i].addr()) + records
	}
	return b, err
}
