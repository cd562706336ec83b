package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/redis"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/internal/testservers/redisserver"
)

var env = brokers.Env{Name: "default", Logger: slog.New(slog.DiscardHandler)}

// works checks that tasks go through the queue of the settings.
func works(t *testing.T, s *redis.Settings) {
	t.Helper()
	b := open(t, s)
	push(t, b, 2)
	settle(t, b, brokers.Done, lease(t, b, 2)...)
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "leptir") // t.TempDir() may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "redis.sock")
	redisserver.Start(t, "--unixsocket", path)
	s := redis.Defaults()
	s.Connection.Scheme, s.Connection.Path = "unix", settings.Path(path)
	works(t, s)
	s.Connection.Path += ".gone"
	_, err = s.Open(t.Context(), env)
	require.ErrorContains(t, err, path+".gone")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := certificate(t, dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	redisserver.Start(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "yes")

	s := redis.Defaults()
	s.Connection.Scheme, s.Connection.Host, s.Connection.Port = "tls", "127.0.0.1", port
	s.Connection.Timeout = 15 * time.Second // a busy machine shakes hands slowly
	_, err = s.Open(t.Context(), env)
	require.ErrorContains(t, err, "certificate", "an unknown authority")
	s.Connection.TLS.CAFile = settings.Path(cert)
	_, err = s.Open(t.Context(), env)
	require.Error(t, err, "the server wants a certificate of the client")
	s.Connection.TLS.CertFile, s.Connection.TLS.KeyFile = settings.Path(cert), settings.Path(key)
	works(t, s)
	s.Connection.TLS.ServerName = "elsewhere"
	_, err = s.Open(t.Context(), env)
	require.ErrorContains(t, err, "elsewhere")
	s.Connection.TLS.SkipVerify = true
	works(t, s)
	s.Connection.TLS.CAFile = settings.Path(key)
	_, err = s.Open(t.Context(), env)
	require.ErrorContains(t, err, "ca_file: "+key+" holds no certificate")
}

// certificate writes a certificate for 127.0.0.1 that is its own authority.
func certificate(t *testing.T, dir string) (certFile, keyFile string) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "leptir test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(k)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	return certFile, keyFile
}

// TestLeastRights runs the broker as a user that has no more rights than docs/brokers/redis.md
// says it needs.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	server.Do(strings.Fields("ACL SETUSER leptir on >right-secret resetkeys ~leptir:* ~{leptir:* resetchannels &{leptir:* -@all +@read +@write +@scripting +@connection +@pubsub +time +info")...)
	s := settingsOf(t, server.Addr())
	s.Connection.Key, s.Connection.Username, s.Connection.Password = redis.DefaultKey, "leptir", "right-secret"
	works(t, s)
	waitWakes(t, s)

	s.Connection.Key = "forbidden"
	_, err := s.Open(t.Context(), env)
	require.ErrorContains(t, err, "the user may not do this: its ACL must allow it")

	// Without the channel, only the wake-ups come later.
	server.Do("ACL", "SETUSER", "leptir", "resetchannels")
	s.Connection.Key, s.PollInterval = redis.DefaultKey, 50*time.Millisecond
	works(t, s)
	waitWakes(t, s)
}

// waitWakes checks that a push of another handle wakes a waiting one.
func waitWakes(t *testing.T, s *redis.Settings) {
	t.Helper()
	a, b := open(t, s), open(t, s)
	woken := make(chan error, 1)
	go func() {
		var err error
		for ds := []brokers.Delivery(nil); len(ds) == 0 && err == nil; {
			if err = a.Wait(t.Context()); err == nil {
				ds, err = a.Lease(t.Context(), 1, time.Minute)
			}
		}
		woken <- err
	}()
	time.Sleep(50 * time.Millisecond) // let it wait
	push(t, b, 1)
	select {
	case err := <-woken:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("no wake-up")
	}
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a failover by a sentinel takes seconds")
	}
	master := redisserver.Start(t, "--repl-diskless-sync-delay", "0")
	replica := redisserver.Start(t, "--repl-diskless-sync-delay", "0", "--replicaof", "127.0.0.1 "+strconv.Itoa(master.Port))
	sentinel := redisserver.StartSentinel(t, master)
	s := redis.Defaults()
	s.Connection.Addresses, s.Connection.MasterName = []string{sentinel.Addr()}, "mymaster"
	b := open(t, s)
	ids := push(t, b, 3)
	require.Eventually(t, func() bool {
		return replica.Do("ZCARD", s.Connection.Key) == "3" && strings.Contains(sentinel.Do("INFO", "sentinel"), "slaves=1")
	}, 3*patience, 20*time.Millisecond, "the sentinel finds replicas every ten seconds")
	master.Kill()
	require.Eventually(t, func() bool { return b.Push(t.Context(), tasks(1)) == nil }, 3*patience, 20*time.Millisecond)
	require.Subset(t, leasedIDs(lease(t, b, 10)), ids, "the same handle works with the new master")

	s.Connection.MasterName = "another"
	_, err := s.Open(t.Context(), env)
	require.ErrorContains(t, err, "no sentinel answers, or none knows the master's name")
}

func TestCluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a cluster of three servers")
	}
	nodes := redisserver.StartCluster(t)
	s := settingsOf(t, nodes[0].Addr())
	for i := 0; ; i++ { // a key of the third node
		s.Connection.Key = fmt.Sprint("queue", i)
		slot, err := strconv.Atoi(nodes[0].Do("CLUSTER", "KEYSLOT", s.Connection.Key))
		require.NoError(t, err)
		if slot > 11000 {
			break
		}
	}
	_, err := s.Open(t.Context(), env)
	require.ErrorContains(t, err, "the server is part of a Redis Cluster: set cluster = true")
	s.Connection.Cluster = true
	b := open(t, s)
	push(t, b, 4)
	for _, n := range nodes {
		n.Do("CLIENT", "KILL", "TYPE", "normal")
		n.Do("SCRIPT", "FLUSH")
	}
	settle(t, b, brokers.Done, lease(t, b, 4)...)

	alone := settingsOf(t, redisserver.Start(t).Addr())
	alone.Connection.Cluster = true
	_, err = alone.Open(t.Context(), env)
	require.ErrorContains(t, err, "the server is no Redis Cluster: leave cluster out")
}
