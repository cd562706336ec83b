package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// advice says what the errors of a server mean to whoever runs leptir, by a word of theirs.
// (Errors from inside a script carry it somewhere in the middle.)
var advice = []struct{ word, text string }{
	{"WRONGPASS", "the username or the password is wrong"},
	{"invalid password", "the password is wrong"},
	{"NOAUTH", "the server wants a password: set password (and username)"},
	{"called without any password configured", "the server knows no password: leave password out"},
	{"NOPERM", "the user may not do this: its ACL must allow it"},
	{"OOM command", "the server's memory is full (maxmemory), nothing was written: make room or raise it"},
	{"READONLY", "the server is a read-only replica: connect to the master"},
	{"MISCONF", "the server takes no writes as it cannot save them: see its log"},
	{"LOADING", "the server is still loading its data"},
	{"CLUSTERDOWN", "the cluster is down"},
	{"MOVED", "the server is part of a Redis Cluster: set cluster = true"},
	{"cluster support disabled", "the server is no Redis Cluster: leave cluster out"},
	{"DB index is out of range", "the server has no database of that number"},
	{"BUSY", "the server is busy with a slow script"},
	{"all sentinels specified in configuration are unreachable", "no sentinel answers, or none knows the master's name"},
}

// explain puts into words what a call's error means.
func (c *Client) explain(err error) error {
	c.mu.Lock()
	closed, dialFail := c.closed, c.dialFail
	c.mu.Unlock()
	switch {
	case closed || errors.Is(err, redis.ErrClosed):
		return ErrClosed
	case err == redis.Nil: // no error: there is nothing
		return err
	case errors.Is(err, context.DeadlineExceeded) && dialFail != nil:
		err = fmt.Errorf("no connection within %v: %w", c.timeout, dialFail)
	case errors.Is(err, context.DeadlineExceeded):
		// Our own limit: not to be taken for that of the caller's ctx.
		return fmt.Errorf("redis at %s: no answer within %v (%v)", c.where, c.timeout, err)
	}
	msg := err.Error()
	for _, a := range advice {
		if strings.Contains(msg, a.word) {
			return fmt.Errorf("redis at %s: %s: %w", c.where, a.text, err)
		}
	}
	return fmt.Errorf("redis at %s: %w", c.where, err)
}
