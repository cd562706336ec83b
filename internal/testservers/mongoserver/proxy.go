package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
)

// proxy passes commands from any number of clients to one backend, one command at a time,
// and each on a connection of its client's own.
//
// FerretDB 1.x is not atomic: of 8 clients that race to claim 200 documents by
// findAndModify, nearly every document is claimed twice, and of 400 racing $inc some 60
// arrive. A real server runs each command on a document whole. One command at a time gives
// that back; what it cannot give is a real server's contention, so what depends on that is to
// be tested on one.
//
// It also drops the replies that FerretDB sends to commands whose sender wants none, which
// would be taken for the reply to the next command.
type proxy struct {
	listener net.Listener
	backend  string // unix socket

	turn sync.Mutex // held while the backend works on a command

	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool // nil after stop
}

func (p *proxy) start() {
	p.conns = map[net.Conn]bool{}
	p.wg.Go(func() {
		for {
			c, err := p.listener.Accept()
			if err != nil {
				return // stop has closed it
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
}

// stop closes all connections and waits until nothing of the proxy runs.
func (p *proxy) stop() {
	p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.wg.Wait()
}

// own notes a connection that stop is to close; it reports false after stop.
func (p *proxy) own(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) disown(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

// serve passes the commands of one client until either side hangs up.
func (p *proxy) serve(client net.Conn) {
	if !p.own(client) {
		return
	}
	defer p.disown(client)
	backend, err := net.Dial("unix", p.backend)
	if err != nil || !p.own(backend) {
		return
	}
	defer p.disown(backend)
	for {
		command, err := readMessage(client)
		if err != nil {
			return
		}
		reply, err := p.call(backend, command)
		if err != nil {
			return
		}
		if wantsReply(command) {
			if _, err := client.Write(reply); err != nil {
				return
			}
		}
	}
}

// call waits for its turn and has the backend carry out the command.
func (p *proxy) call(backend net.Conn, command []byte) (reply []byte, err error) {
	p.turn.Lock()
	defer p.turn.Unlock()
	if _, err := backend.Write(command); err != nil {
		return nil, err
	}
	return readMessage(backend)
}

const (
	headerBytes  = 16       // length, request id, response to, op code
	maxMessage   = 64 << 20 // more than MongoDB's 48 MB
	opMsg        = 2013     // the op code of today's commands
	moreToCome   = 1 << 1   // the flag by which the sender of an OP_MSG wants no reply
	smallestMsg  = headerBytes + 4
	opCodeOffset = 12
)

// readMessage reads one message: its length in 4 bytes, itself included, then the rest.
func readMessage(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n < smallestMsg || n > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	m := make([]byte, n)
	copy(m, length[:])
	_, err := io.ReadFull(r, m[len(length):])
	return m, err
}

func wantsReply(command []byte) bool {
	return binary.LittleEndian.Uint32(command[opCodeOffset:]) != opMsg ||
		binary.LittleEndian.Uint32(command[headerBytes:])&moreToCome == 0
}
