// Package mongotest gives tests a server that speaks MongoDB's wire protocol: the one that
// the environment variable LEPTIR_TEST_MONGODB_URI names, else one that it builds from the
// module internal/testservers/mongoserver and runs for as long as the test binary does.
//
// The built-in one is FerretDB behind a proxy that hands it one command at a time. It shows
// what a client asks and what it makes of the answers; it has no replica sets, no change
// streams, no TTL indexes and no contention. Tests of those call NeedReal.
package mongotest

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"
)

// EnvURI is the environment variable that names a real server to use instead, for example
// mongodb://127.0.0.1:27017/?replicaSet=rs0. Tests make databases named leptir_test_… there
// and drop them.
const EnvURI = "LEPTIR_TEST_MONGODB_URI"

// patience bounds the start and the end of the server.
const patience = 30 * time.Second

// server is the test binary's own server, once it has been asked for.
var server struct {
	once  sync.Once
	uri   string
	err   error
	cmd   *exec.Cmd
	stdin io.Closer
}

// URI returns the address of the server, starting the built-in one at the first call.
func URI(tb testing.TB) string {
	tb.Helper()
	if uri := os.Getenv(EnvURI); uri != "" {
		return uri
	}
	server.once.Do(func() { server.uri, server.err = start() })
	if server.err != nil {
		tb.Fatalf("MongoDB-wire server for tests: %v", server.err)
	}
	return server.uri
}

// NeedReal skips a test that the built-in server cannot run.
func NeedReal(tb testing.TB, reason string) {
	tb.Helper()
	if os.Getenv(EnvURI) == "" {
		tb.Skipf("needs a real MongoDB (%s): %s", EnvURI, reason)
	}
}

// Builtin reports whether the server is the built-in one.
func Builtin() bool { return os.Getenv(EnvURI) == "" }

// Database returns the name of a new database, which is dropped when tb ends.
func Database(tb testing.TB) string {
	tb.Helper()
	name := "leptir_test_" + strings.ToLower(rand.Text()[:16])
	tb.Cleanup(func() {
		if err := Client(tb).Database(name).Drop(context.Background()); err != nil {
			tb.Errorf("drop the test database %s: %v", name, err)
		}
	})
	return name
}

// Client returns a client of the server, for tests that look behind the back of the code
// they test. It is disconnected when tb ends.
func Client(tb testing.TB) *mongo.Client {
	tb.Helper()
	c, err := mongo.Connect(options.Client().ApplyURI(URI(tb)).SetTimeout(patience))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Disconnect(context.Background()) })
	return c
}

// Main is the TestMain of a package that uses the server: it ends the server, and fails if
// goroutines are left.
func Main(m *testing.M, opts ...goleak.Option) {
	goleak.VerifyTestMain(m, append(opts, goleak.Cleanup(func(code int) {
		if err := stop(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, "MongoDB-wire server for tests:", err)
			code = 1
		}
		os.Exit(code)
	}))...)
}

// Launch starts the built-in server for a program that is no test, at most once, and returns
// its address; stop ends it.
func Launch() (uri string, stopServer func() error, err error) {
	uri, err = start()
	return uri, stop, err
}

// start runs the built-in server and returns its address.
func start() (uri string, err error) {
	path, err := build()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(path)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // its end is the server's end, also when this process is killed
	if err != nil {
		return "", err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	server.cmd, server.stdin = cmd, stdin
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("it did not say its address: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// stop ends the built-in server, if it runs.
func stop() error {
	if server.cmd == nil {
		return nil
	}
	server.stdin.Close()
	late := time.AfterFunc(patience, func() { _ = server.cmd.Process.Kill() })
	err := server.cmd.Wait()
	if !late.Stop() {
		err = errors.Join(errors.New("it had to be killed"), err)
	}
	return err
}
