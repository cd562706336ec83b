package redisserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// StartCluster starts a cluster of three masters and ends it with the test.
func StartCluster(tb testing.TB) []*Server {
	tb.Helper()
	const masters, slots = 3, 16384
	var servers []*Server
	for range masters {
		servers = append(servers, Start(tb, "--cluster-enabled", "yes", "--cluster-node-timeout", "3000"))
	}
	for i, s := range servers {
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		args := []string{"CLUSTER", "ADDSLOTS"}
		for slot := i * slots / masters; slot < (i+1)*slots/masters; slot++ {
			args = append(args, strconv.Itoa(slot))
		}
		s.Do(args...)
	}
	for _, s := range servers[1:] {
		s.Do("CLUSTER", "MEET", servers[0].Host, strconv.Itoa(servers[0].Port))
	}
	require.Eventually(tb, func() bool {
		for _, s := range servers {
			info := s.Do("CLUSTER", "INFO")
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", masters)) {
				return false
			}
		}
		return true
	}, patience, 20*time.Millisecond, "the cluster does not come together")
	return servers
}

// StartSentinel starts a sentinel that watches master under the name "mymaster", and ends
// it with the test.
func StartSentinel(tb testing.TB, master *Server) *Server {
	tb.Helper()
	dir := tb.TempDir()
	conf := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor mymaster %s %d 1\nsentinel down-after-milliseconds mymaster 3000\nsentinel failover-timeout mymaster 3000\n",
		master.Host, master.Port)
	require.NoError(tb, os.WriteFile(conf, []byte(text), 0o600))
	return Start(tb, conf, "--sentinel")
}

// Do sends one command and returns the reply as text: that of a status, a number or a bulk
// string. An error as the reply fails the test.
func (s *Server) Do(args ...string) string {
	s.tb.Helper()
	reply, err := s.do(args)
	require.NoError(s.tb, err, "redis command %.100s", strings.Join(args, " "))
	return reply
}

func (s *Server) do(args []string) (string, error) {
	c, err := net.DialTimeout("tcp", s.Addr(), patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.Write([]byte(b.String())); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	switch line[0] {
	case '-':
		return "", errors.New(line[1:])
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return "", err
		}
		buf := make([]byte, n)
		_, err = io.ReadFull(r, buf)
		return string(buf), err
	}
	return line[1:], nil
}
