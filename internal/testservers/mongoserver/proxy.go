package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/FerretDB/wire"
)

// proxy passes commands from any number of clients to one backend, for each database one
// command at a time, and each on a connection of its client's own.
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
	speeder  *speeder

	wg    sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool // nil after stop
	turns map[string]*sync.Mutex
}

func (p *proxy) start() {
	p.conns = map[net.Conn]bool{}
	p.turns = map[string]*sync.Mutex{}
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

// turn returns the lock of a database, held while the backend works on a command for it.
func (p *proxy) turn(database string) *sync.Mutex {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.turns[database] == nil {
		p.turns[database] = &sync.Mutex{}
	}
	return p.turns[database]
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
		message, err := readMessage(client)
		if err != nil {
			return
		}
		c := parse(message)
		reply, err := p.call(backend, message, c)
		if err != nil {
			return
		}
		if !c.silent {
			if _, err := client.Write(reply); err != nil {
				return
			}
		}
	}
}

// call waits for its turn and has the backend carry out the command.
func (p *proxy) call(backend net.Conn, message []byte, c command) (reply []byte, err error) {
	turn := p.turn(c.database)
	turn.Lock()
	defer turn.Unlock()
	if _, err := backend.Write(message); err != nil {
		return nil, err
	}
	reply, err = readMessage(backend)
	if err == nil {
		err = p.speeder.after(c)
	}
	return reply, err
}

// command is what the proxy needs to know of a message.
type command struct {
	name, database, collection string
	silent                     bool // its sender wants no reply
}

const (
	headerBytes  = 16 // length, request id, response to, op code
	opCodeOffset = 12
	smallest     = headerBytes + 4
	largest      = 64 << 20 // more than MongoDB's 48 MB
)

// readMessage reads one message: its length in 4 bytes, itself included, then the rest.
func readMessage(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n < smallest || n > largest {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	m := make([]byte, n)
	copy(m, length[:])
	_, err := io.ReadFull(r, m[len(length):])
	return m, err
}

// parse reads what is to be known of a message; of one that it cannot read that is nothing,
// and the backend says what is wrong with it.
func parse(message []byte) (c command) {
	var m wire.OpMsg
	if wire.OpCode(binary.LittleEndian.Uint32(message[opCodeOffset:])) != wire.OpCodeMsg ||
		m.UnmarshalBinaryNocopy(message[headerBytes:]) != nil {
		return c
	}
	c.silent = m.Flags.FlagSet(wire.OpMsgMoreToCome)
	d, err := m.RawSection0().Decode()
	if err != nil {
		return c
	}
	c.name = d.Command()
	c.database, _ = d.Get("$db").(string)
	c.collection, _ = d.Get(c.name).(string)
	return c
}
