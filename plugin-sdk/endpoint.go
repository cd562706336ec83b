package sdk

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/backplane/leptir/internal/protocol"
)

// This is the plugin's half of go-plugin's protocol, as far as a host needs it. go-plugin's
// own half would add a fifth to the processor time that a process takes to start: see
// docs/adr/0008-the-sdk-without-go-plugin.md.

// The variables by which a client of go-plugin tells a plugin what it wants.
const (
	envSocketDir  = "PLUGIN_UNIX_SOCKET_DIR"
	envClientCert = "PLUGIN_CLIENT_CERT"
	envMultiplex  = "PLUGIN_MULTIPLEX_GRPC"
)

// coreProtocol is the version of go-plugin's handshake.
const coreProtocol = 1

// endpoint is where the plugin listens, and how it says so.
type endpoint struct {
	listener net.Listener
	creds    credentials.TransportCredentials // nil: none
	cert     string                           // the plugin's certificate, for the handshake; "" where there is no TLS
}

// newEndpoint listens on a new socket in the folder that the host has named.
func newEndpoint() (*endpoint, error) {
	e := &endpoint{}
	if text := os.Getenv(envClientCert); text != "" {
		config, cert, err := mutualTLS(text)
		if err != nil {
			return nil, err
		}
		e.creds, e.cert = credentials.NewTLS(config), cert
	}
	dir := os.Getenv(envSocketDir)
	if dir == "" {
		dir = os.TempDir()
	}
	// Nobody else has a socket of that name: Listen would fail.
	var err error
	if e.listener, err = net.Listen("unix", filepath.Join(dir, "plugin"+rand.Text()[:10])); err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	return e, nil
}

// handshake is the line by which the host learns where the plugin listens.
func (e *endpoint) handshake() string {
	addr := e.listener.Addr()
	line := fmt.Sprintf("%d|%d|%s|%s|grpc|%s", coreProtocol, protocol.Version, addr.Network(), addr, e.cert)
	if os.Getenv(envMultiplex) != "" {
		line += "|false"
	}
	return line + "\n"
}

// options returns the options of the server that are about who may connect.
func (e *endpoint) options() []grpc.ServerOption {
	if e.creds != nil { // by which host and plugin know each other
		return []grpc.ServerOption{grpc.Creds(e.creds)}
	}
	if creds := peerCredentials(os.Getenv(protocol.EnvHostPID)); creds != nil {
		return []grpc.ServerOption{grpc.Creds(creds)}
	}
	return nil
}

// mutualTLS makes a configuration by which this process talks to nobody but the owner of the
// client's certificate (go-plugin's AutoMTLS). cert is the process's own as it stands in the
// handshake.
func mutualTLS(clientPEM string) (config *tls.Config, cert string, err error) {
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM([]byte(clientPEM)) {
		return nil, "", errors.New("the host's certificate in " + envClientCert + " cannot be read")
	}
	own, err := ownCertificate()
	if err != nil {
		return nil, "", fmt.Errorf("make a certificate: %w", err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{own},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients,
		MinVersion: tls.VersionTLS12,
	}, base64.RawStdEncoding.EncodeToString(own.Certificate[0]), nil
}

// ownCertificate makes a key, and a certificate that signs itself.
func ownCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return tls.Certificate{}, err
	}
	const name = "localhost" // the client asks for it
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"leptir plugin"}}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-30 * time.Second), NotAfter: time.Now().AddDate(30, 0, 0),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// registerOwn registers what go-plugin's client asks of every plugin: whether it is well,
// and to end. Its broker and its copies of stdout and stderr are not offered: a host of
// leptir's has no use for the one, and reads the pipes themselves.
func registerOwn(s *grpc.Server) {
	h := health.NewServer()
	h.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(s, h)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "plugin.GRPCController",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Shutdown", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := decode(&emptypb.Empty{}); err != nil {
				return nil, err
			}
			go s.Stop() // it waits for this call
			return &emptypb.Empty{}, nil
		}}},
	}, s)
}
