package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/metastore"
	storesqlite "github.com/backplane/leptir/metastore/sqlite"
)

// backend is a queue and the stores of the records, their servers, and what faults can do
// to them.
type backend struct {
	broker   brokers.Broker // straight to the server: nothing stands between
	producer brokers.Broker // as producers reach it
	stores   []store
	// blocks returns the configuration of the queue and the stores for a host.
	blocks func(host int) string

	queueLinks []*link // one a host, then the producer's
	storeLinks []*link // one a host

	server, storeServer *server         // nil where there is none that could be killed or stopped
	killable            bool            // the servers keep what they have through a kill
	full                map[Kind]filler // by QueueFull, StoreFull
	locked              map[Kind]string // by QueueLocked, StoreLocked: the SQLite file

	closers []func()
}

// store is one store of records.
type store struct {
	name string
	metastore.Store
}

// server is a process that holds queues or records.
type server struct {
	kill  func() error
	start func() error
	pid   func() int
}

// filler makes a place full, until undo is called.
type filler func() (undo func() error, err error)

func (b *backend) has(k Kind) bool {
	switch k {
	case ServerKill:
		return b.server != nil && b.killable
	case StoreKill:
		return b.storeServer != nil && b.killable
	case ServerStop:
		return b.server != nil
	case QueueReset, QueueLatency, QueueStall, QueueLimit:
		return len(b.queueLinks) > 0
	case StoreReset, StoreLatency, StoreStall, StoreLimit:
		return len(b.storeLinks) > 0
	case QueueFull, StoreFull:
		return b.full[k] != nil
	case QueueLocked, StoreLocked:
		return b.locked[k] != ""
	case HostClock:
		return b.server != nil // hosts of one machine that share a file share its clock
	}
	return true
}

func (b *backend) close() {
	for _, f := range slices.Backward(b.closers) {
		f()
	}
}

// surroundings is what a backend is made in.
type surroundings struct {
	dir   string // of its own
	hosts int
	net   *network
	mount bool // file systems of their own may be mounted
}

// errNoServer is wrapped by the error of a backend whose server this machine does not have.
var errNoServer = errors.New("no server to torture")

var discard = slog.New(slog.DiscardHandler)

// opener is how each kind of backend is made. The backend is to be closed even after an
// error.
var openers = map[string]func(context.Context, *surroundings) (*backend, error){
	"sqlite": openSQLite, "redis": openRedis, "mongodb": openMongoDB, "sqs": openSQS,
}

// volume makes a folder, on a file system of its own if that may be.
func (s *surroundings) volume(b *backend, name string, size int) (dir string, fill filler, err error) {
	dir = filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", nil, err
	}
	if !s.mount {
		return dir, nil, nil
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		return "", nil, fmt.Errorf("mount a file system at %s: %w", dir, err)
	}
	b.closers = append(b.closers, func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir, func() (func() error, error) { return ballast(filepath.Join(dir, "ballast")) }, nil
}

// ballast writes a file until there is no space left.
func ballast(name string) (undo func() error, err error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for size := 1 << 20; size >= 512; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			return nil, errors.Join(err, os.Remove(name))
		}
	}
	return func() error { return os.Remove(name) }, nil
}

// recordsOnFile adds a store in an SQLite file to the backend.
func (s *surroundings) recordsOnFile(ctx context.Context, b *backend) (block string, err error) {
	dir, fill, err := s.volume(b, "records", 256<<20)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "records.db")
	set := storesqlite.Defaults()
	set.Path = settings.Path(file)
	st, err := set.Open(ctx, metastore.Env{Name: "sqlite", Logger: discard})
	if err != nil {
		return "", err
	}
	b.stores = append(b.stores, store{"sqlite", st})
	b.closers = append(b.closers, func() { _ = st.Close() })
	if fill != nil {
		b.full[StoreFull] = fill
	}
	b.locked[StoreLocked] = file
	return fmt.Sprintf("\nmeta_storage \"sqlite\" \"file\" {\n  path = %q\n}\n", file), nil
}

// linksTo opens a way to a server for each host, and for the producer.
func (s *surroundings) linksTo(name, addr string) (links []*link, err error) {
	for i := range s.hosts + 1 {
		l, err := s.net.link(fmt.Sprint(name, "-", i), addr)
		if err != nil {
			return nil, err
		}
		links = append(links, l)
	}
	return links, nil
}

func port(addr string) int {
	_, p, _ := strings.Cut(addr, ":")
	n, _ := strconv.Atoi(p)
	return n
}

// addrOf returns the host:port of a URL.
func addrOf(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	return u.Host, nil
}

// childWith returns the id of the child process whose command line has a text in it.
func childWith(text string) func() int {
	return func() int {
		for _, pid := range marked(envRun + "=" + os.Getenv(envRun)) {
			if strings.Contains(command(pid), text) {
				return pid
			}
		}
		return 0
	}
}

// soon bounds a call of something that should be there.
func soon(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 30*time.Second)
}
