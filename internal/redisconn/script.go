package redisconn

import (
	"context"
	"crypto/sha1"
	"encoding/hex"

	"github.com/redis/go-redis/v9"
)

// Script is a Lua script that is run by its digest and sent whole only to servers that do
// not know it (any more). It is safe for concurrent use.
type Script struct {
	source, digest string
	once           bool
}

// NewScript returns a script that may be run again by the client itself, where a lost
// connection leaves open whether it ran.
func NewScript(source string) *Script {
	sum := sha1.Sum([]byte(source))
	return &Script{source: source, digest: hex.EncodeToString(sum[:])}
}

// Once returns the script as one that the client never runs a second time by itself.
func (s *Script) Once() *Script { c := *s; c.once = true; return &c }

// Command returns the command that runs the script: by its digest, or, with whole, by its
// source. It goes to the server by Redis.Process or in a pipeline. The keys must lie in
// one slot. The script's arguments are those of all lists, one after the other.
func (s *Script) Command(ctx context.Context, whole bool, keys []string, args ...[]any) (redis.Cmder, *redis.Cmd) {
	n := 3 + len(keys)
	for _, list := range args {
		n += len(list)
	}
	argv := make([]any, 0, n)
	if whole {
		argv = append(argv, "eval", s.source, len(keys))
	} else {
		argv = append(argv, "evalsha", s.digest, len(keys))
	}
	for _, k := range keys {
		argv = append(argv, k)
	}
	for _, list := range args {
		argv = append(argv, list...)
	}
	cmd := redis.NewCmd(ctx, argv...)
	cmd.SetFirstKeyPos(3)
	if s.once {
		return onceCmd{cmd}, cmd
	}
	return cmd, cmd
}

// onceCmd is a command that go-redis does not repeat.
type onceCmd struct{ *redis.Cmd }

func (onceCmd) NoRetry() bool { return true }

// Run runs the script and returns its reply.
func (s *Script) Run(ctx context.Context, c *Client, keys []string, args ...[]any) (any, error) {
	send, cmd := s.Command(ctx, false, keys, args...)
	err := c.Redis.Process(ctx, send)
	if Unknown(err) {
		send, cmd = s.Command(ctx, true, keys, args...)
		err = c.Redis.Process(ctx, send)
	}
	if err != nil && err != redis.Nil {
		return nil, err
	}
	return cmd.Val(), nil
}

// Unknown reports whether err says that the server does not know the script's digest.
func Unknown(err error) bool { return err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") }
