package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// network makes the connections that faults can strike.
type network struct {
	server *toxiproxy.ApiServer // only carries settings: it does not listen
	links  []*link
}

func newNetwork() *network {
	return &network{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())}
}

// link is a way to a server, on loopback.
type link struct{ proxy *toxiproxy.Proxy }

// link opens a way to the server at host:port.
func (n *network) link(name, upstream string) (*link, error) {
	p := toxiproxy.NewProxy(n.server, name, "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		return nil, fmt.Errorf("proxy %s: %w", name, err)
	}
	l := &link{p}
	n.links = append(n.links, l)
	return l, nil
}

// addr is where clients connect to.
func (l *link) addr() string { return l.proxy.Listen }

// spoil makes the link bad, until heal with the same name.
func (l *link) spoil(name, toxic, stream string, attributes string) error {
	_, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(
		fmt.Sprintf(`{"name":%q,"type":%q,"stream":%q,"attributes":{%s}}`, name, toxic, stream, attributes)))
	if err != nil {
		return fmt.Errorf("proxy %s: %w", l.proxy.Name, err)
	}
	return nil
}

func (l *link) heal(name string) error {
	return l.proxy.Toxics.RemoveToxic(context.Background(), name)
}

func (n *network) close() {
	for _, l := range n.links {
		l.proxy.Stop()
	}
}
