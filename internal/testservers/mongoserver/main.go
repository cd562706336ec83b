// Command mongoserver is a server for tests that speaks MongoDB's wire protocol: FerretDB on
// SQLite in a folder of its own, behind a proxy that hands it, for each database, one command at a time (see
// proxy.go for why).
//
// It listens on 127.0.0.1 on a free port, prints its URI as the first line on stdout, and
// ends, leaving nothing behind, when its stdin closes. It is a module of its own because what
// it needs is ten times as much as all the rest of leptir.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	debug.SetGCPercent(400) // it allocates much and holds little
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mongoserver:", err)
		os.Exit(1)
	}
}

// run serves until in ends.
func run(in io.Reader, out io.Writer) error {
	dir, err := os.MkdirTemp("", "leptir-mongo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	// The proxy is the only way in: FerretDB itself listens on a socket in the private folder.
	socket := filepath.Join(dir, "s")
	f, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: socket},
		Logger:    slog.New(slog.DiscardHandler),
		Handler:   "sqlite",
		SQLiteURL: "file:" + dir + "/?_pragma=synchronous(off)", // tests do not survive a power cut either
	})
	if err != nil {
		return fmt.Errorf("start FerretDB: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.Run(ctx) // it only ever returns nil
	}()
	defer func() { stop(); <-ended }()
	_ = f.MongoDBURI() // returns when the socket is there

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p := &proxy{listener: l, backend: socket, speeder: &speeder{dir: dir, done: map[string]map[string]bool{}}}
	p.start()
	defer p.stop()
	fmt.Fprintf(out, "mongodb://%s/\n", l.Addr())
	_, err = io.Copy(io.Discard, in)
	return err
}
