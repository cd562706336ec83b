package sdk

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Nobody talks to a plugin by TLS but the owner of the certificate that its host has named, who
// knows the plugin by the one of the handshake.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	certificate := func() tls.Certificate {
		c, err := ownCertificate()
		require.NoError(t, err)
		return c
	}
	host, stranger := certificate(), certificate()
	config, handshake, err := mutualTLS(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: host.Certificate[0]})))
	require.NoError(t, err)
	der, err := base64.RawStdEncoding.DecodeString(handshake)
	require.NoError(t, err)
	plugin, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	trusted := x509.NewCertPool()
	trusted.AddCert(plugin)
	for name, c := range map[string]struct {
		certificates []tls.Certificate
		may          bool
	}{
		"the host":                     {[]tls.Certificate{host}, true},
		"nobody in particular":         {nil, false},
		"one with another certificate": {[]tls.Certificate{stranger}, false},
	} {
		a, b := net.Pipe()
		deadline := time.Now().Add(20 * time.Second)
		require.NoError(t, a.SetDeadline(deadline))
		require.NoError(t, b.SetDeadline(deadline))
		served := make(chan error, 1)
		server := tls.Server(a, config)
		go func() {
			err := server.Handshake()
			if err == nil {
				_, err = server.Write([]byte("x"))
			}
			served <- err
			a.Close()
		}()
		client := tls.Client(b, &tls.Config{Certificates: c.certificates, RootCAs: trusted, ServerName: "localhost"})
		_, err := client.Read(make([]byte, 1))
		b.Close()
		require.Equal(t, c.may, err == nil, "%s: %v", name, err)
		require.Equal(t, c.may, <-served == nil, name)
	}
	_, _, err = mutualTLS("no certificate")
	require.EqualError(t, err, "the host's certificate in PLUGIN_CLIENT_CERT cannot be read")
}
