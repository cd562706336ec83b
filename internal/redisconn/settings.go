// Package redisconn owns how leptir reaches a Redis: the settings of a connection, its
// opening, calls that end in time whatever the server does, and errors that say what to do.
// The Redis broker and the Redis meta storage share it. It knows nothing of queues or
// records.
package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/backplane/leptir/internal/settings"
)

// Settings say where a Redis is and how to get in: one server, one behind sentinels, or a
// cluster.
type Settings struct {
	Scheme   string          `config:"scheme" oneof:"tcp|tls|unix" doc:"How to connect: \"tcp\", \"tls\" (encrypted), or \"unix\" (a socket file, see path)."`
	Host     string          `config:"host" doc:"The server's host name or address."`
	Port     int             `config:"port" min:"1" max:"65535" doc:"The server's port."`
	Path     settings.Path   `config:"path" doc:"The socket file of scheme \"unix\"."`
	Database int             `config:"database" min:"0" doc:"The number of the database. A cluster has only 0."`
	Username string          `config:"username" doc:"The user to log in as (Redis 6 ACLs); empty is the default user."`
	Password settings.Secret `config:"password" doc:"The user's password; empty is none."`

	Addresses        []string        `config:"addresses" doc:"Several servers as \"host:port\", instead of host and port: the nodes to find a cluster by, or the sentinels."`
	Cluster          bool            `config:"cluster" doc:"The servers form a Redis Cluster."`
	MasterName       string          `config:"master_name" doc:"The name of the master that the sentinels in addresses watch."`
	SentinelUsername string          `config:"sentinel_username" doc:"The user to log in as at the sentinels."`
	SentinelPassword settings.Secret `config:"sentinel_password" doc:"The password for the sentinels."`

	TLS TLS `config:"tls,block" doc:"Encryption, for scheme \"tls\"."`

	PoolSize int           `config:"pool_size" min:"0" max:"10000" doc:"The most connections at once; 0 is ten for each processor."`
	Timeout  time.Duration `config:"timeout" min:"100ms" max:"10m" doc:"The most time that one call to the server takes, connecting and trying again included."`
}

// TLS is how a connection is encrypted. The zero value checks the server against the
// machine's certificates.
type TLS struct {
	CAFile     settings.Path `config:"ca_file" doc:"The certificates (PEM) that the server's is checked against, instead of the machine's."`
	CertFile   settings.Path `config:"cert_file" doc:"The certificate (PEM) that the client shows."`
	KeyFile    settings.Path `config:"key_file" doc:"The key (PEM) of cert_file."`
	ServerName string        `config:"server_name" doc:"The name that the server's certificate must have, instead of its host name."`
	SkipVerify bool          `config:"skip_verify" doc:"Do not check the server's certificate. Only for tests: anybody in between can read and change everything."`
}

// Defaults returns the settings of a Redis on this machine.
func Defaults() Settings {
	return Settings{Scheme: "tcp", Host: "localhost", Port: 6379, Timeout: 10 * time.Second}
}

// Validate reports settings that contradict each other.
func (s *Settings) Validate() error {
	var errs []error
	wrong := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	switch s.Scheme {
	case "tcp", "tls":
		if s.Path != "" {
			wrong(`path is the socket of scheme "unix", the scheme is %q`, s.Scheme)
		}
		if s.Host == "" && len(s.Addresses) == 0 {
			wrong("host must not be empty")
		}
	case "unix":
		if s.Path == "" {
			wrong(`scheme "unix" needs path, the socket file`)
		}
		if s.Cluster || s.MasterName != "" || len(s.Addresses) > 0 {
			wrong(`scheme "unix" reaches one server: it goes with neither addresses nor cluster nor master_name`)
		}
	default:
		wrong(`scheme is %q; it can be "tcp", "tls" or "unix"`, s.Scheme)
	}
	if s.TLS != (TLS{}) && s.Scheme != "tls" {
		wrong(`the tls block is for scheme "tls", the scheme is %q`, s.Scheme)
	}
	if (s.TLS.CertFile == "") != (s.TLS.KeyFile == "") {
		wrong("tls: cert_file and key_file go together")
	}
	switch {
	case s.Cluster && s.MasterName != "":
		wrong("cluster and master_name exclude each other: a cluster needs no sentinels")
	case s.Cluster && s.Database != 0:
		wrong("a cluster has only database 0, not %d", s.Database)
	case s.MasterName != "" && len(s.Addresses) == 0:
		wrong("master_name needs addresses: those of the sentinels")
	case len(s.Addresses) > 0 && !s.Cluster && s.MasterName == "":
		wrong("addresses needs cluster = true, or master_name for sentinels; a single server is given by host and port")
	}
	for _, a := range s.Addresses {
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
			wrong(`addresses: %q is not of the form "host:port"`, a)
		}
	}
	if s.Timeout <= 0 {
		wrong("timeout must be above 0")
	}
	return errors.Join(errs...)
}

// String returns where the settings lead, for messages; it holds no secret.
func (s *Settings) String() string {
	switch {
	case s.Scheme == "unix":
		return string(s.Path)
	case s.MasterName != "":
		return fmt.Sprintf("master %q of sentinels %v", s.MasterName, s.Addresses)
	case s.Cluster:
		return fmt.Sprintf("cluster %v", s.addresses())
	}
	return s.addresses()[0]
}

func (s *Settings) addresses() []string {
	if len(s.Addresses) > 0 {
		return s.Addresses
	}
	return []string{net.JoinHostPort(s.Host, strconv.Itoa(s.Port))}
}

// tlsConfig returns nil where the connection is not encrypted.
func (s *Settings) tlsConfig() (*tls.Config, error) {
	if s.Scheme != "tls" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.TLS.ServerName, InsecureSkipVerify: s.TLS.SkipVerify}
	if s.TLS.CAFile != "" {
		pem, err := os.ReadFile(string(s.TLS.CAFile))
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM form", s.TLS.CAFile)
		}
	}
	if s.TLS.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(string(s.TLS.CertFile), string(s.TLS.KeyFile))
		if err != nil {
			return nil, fmt.Errorf("cert_file and key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}
