// Package redisserver gives tests real Redis servers: one that a test binary shares, ones
// that a test may stop, restart or fill up, a cluster, a sentinel. They listen on 127.0.0.1,
// on free ports, keep their files in the test's folder, and end with the tests, even where
// the test binary is killed. It knows nothing of what the tests are about.
package redisserver

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait for a server.
const patience = 20 * time.Second

// Server is one redis-server process. Its methods are not safe for concurrent use.
type Server struct {
	Host string // 127.0.0.1
	Port int
	Dir  string // its working folder

	tb   testing.TB // nil where no test owns it
	path string
	args []string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// Start starts a server with the given additional command line arguments, for example
// "--appendonly", "yes", and ends it with the test.
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s, err := start(Binary(tb), tb.TempDir(), args)
	require.NoError(tb, err)
	s.tb = tb
	tb.Cleanup(s.Kill)
	return s
}

// Launch starts a server for a program that is no test, with its files in the folder dir.
// Kill ends it. Methods that fail a test cannot be used.
func Launch(dir string, args ...string) (*Server, error) {
	path, err := binary()
	if err != nil {
		return nil, err
	}
	return start(path, dir, args)
}

func start(path, dir string, args []string) (*Server, error) {
	var err error
	for range 5 { // another process may take the port that was free
		s := &Server{Host: "127.0.0.1", Dir: dir, path: path, args: args}
		if s.Port, err = freePort(); err != nil {
			return nil, err
		}
		if err = s.run(); err == nil {
			return s, nil
		}
		s.Kill()
	}
	return nil, err
}

// freePort returns a port P such that P and P+10000, which is a cluster's second one, are
// free at the moment.
func freePort() (int, error) {
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if port+10000 > 65535 {
			continue
		}
		second, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+10000)))
		if err != nil {
			continue
		}
		_ = second.Close()
		return port, nil
	}
	return 0, fmt.Errorf("no free pair of ports on 127.0.0.1")
}

// Addr returns the server's host:port.
func (s *Server) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// run starts the process and waits until it answers.
func (s *Server) run() error {
	args := s.args
	if len(args) == 0 || strings.HasPrefix(args[0], "--") {
		args = append([]string{"--save", "", "--appendonly", "no"}, args...)
	}
	// A configuration file comes first on the command line.
	var file []string
	if len(args) > 0 && !strings.HasPrefix(args[0], "--") {
		file, args = args[:1], args[1:]
	}
	args = append(append(file, "--port", strconv.Itoa(s.Port), "--bind", s.Host, "--dir", s.Dir,
		"--logfile", filepath.Join(s.Dir, "redis.log"), "--daemonize", "no"), args...)
	s.cmd = exec.Command(s.path, args...)
	s.cmd.SysProcAttr = endWithParent()
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(s.cmd, s.done)
	for end := time.Now().Add(patience); ; {
		if s.answers() && s.isOurs() {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("redis-server %v ended: %s", args, s.Log())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(end) {
			return fmt.Errorf("redis-server %v does not answer: %s", args, s.Log())
		}
	}
}

// answers reports whether the server answers, with whatever but that it is still loading.
func (s *Server) answers() bool {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && !strings.HasPrefix(line, "-LOADING")
}

// isOurs reports whether it is this server that answers, and not that of somebody else who was
// given the same port: then this one is about to end.
func (s *Server) isOurs() bool {
	info, err := s.do([]string{"INFO", "server"})
	if err == nil {
		return strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.cmd.Process.Pid))
	}
	select { // it tells strangers nothing
	case <-s.done:
		return false
	case <-time.After(50 * time.Millisecond):
		return true
	}
}

// Log returns the end of what the server has logged.
func (s *Server) Log() string {
	b, _ := os.ReadFile(filepath.Join(s.Dir, "redis.log"))
	return string(b[max(0, len(b)-2000):])
}

// Kill ends the server as a crash would.
func (s *Server) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.done
	s.cmd = nil
}

// Restart starts the server again after Kill, on the same port and files.
func (s *Server) Restart() {
	s.tb.Helper()
	require.Nil(s.tb, s.cmd, "the server runs")
	require.NoError(s.tb, s.run())
}

// Relaunch is Restart of a server that Launch has made.
func (s *Server) Relaunch() error { return s.run() }

// PID returns the id of the server's process; 0 after Kill.
func (s *Server) PID() int {
	if s.cmd == nil || s.cmd.Process == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Signal sends a signal to the server's process.
func (s *Server) Signal(sig os.Signal) {
	s.tb.Helper()
	require.NoError(s.tb, s.cmd.Process.Signal(sig))
}
