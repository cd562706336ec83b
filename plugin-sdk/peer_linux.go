package sdk

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// peerCredentials returns transport credentials that let only the process hostPID connect;
// nil where hostPID is empty.
func peerCredentials(hostPID string) credentials.TransportCredentials {
	if hostPID == "" {
		return nil
	}
	pid, err := strconv.Atoi(hostPID)
	if err != nil {
		pid = -1 // nobody's
	}
	return &onlyHost{insecure.NewCredentials(), int32(pid)}
}

// onlyHost are transport credentials without encryption, which ask the kernel who is at
// the other end of the unix socket.
type onlyHost struct {
	credentials.TransportCredentials
	pid int32
}

func (h *onlyHost) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	pid, err := peerPID(conn)
	if err == nil && pid != h.pid {
		err = fmt.Errorf("connection from process %d, only the host (%d) may connect", pid, h.pid)
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return h.TransportCredentials.ServerHandshake(conn)
}

func (h *onlyHost) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, fmt.Errorf("these credentials are the server's")
}

func (h *onlyHost) Clone() credentials.TransportCredentials {
	return &onlyHost{h.TransportCredentials.Clone(), h.pid}
}

// peerPID returns the pid of the process that has connected.
func peerPID(conn net.Conn) (int32, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("cannot tell who has connected over %s", conn.LocalAddr().Network())
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("peer of the connection: %w", err)
	}
	var cred *syscall.Ucred
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		cred, optErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("peer of the connection: %w", err)
	}
	if optErr != nil {
		return 0, fmt.Errorf("peer of the connection: %w", optErr)
	}
	return cred.Pid, nil
}
