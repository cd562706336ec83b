package redis

import (
	"context"
	"embed"
	"fmt"
	"strconv"

	"github.com/backplane/leptir/internal/redisconn"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// The scripts, each with the prelude before it.
var (
	prelude       = source("prelude")
	pushScript    = script("push")
	leaseScript   = script("lease").Once() // what a second run leased nobody would know of
	adoptScript   = script("adopt")
	extendScript  = script("extend")
	settleScript  = script("settle").Once() // a second run says of all that the first did that it is lost
	statsScript   = script("stats")
	nextScript    = script("next")
	showScript    = script("show")
	pageScript    = script("page")
	heldScript    = script("held")
	requeueScript = script("requeue")
	deleteScript  = script("delete")
	rescueScript  = script("rescue")
	foreignScript = script("foreign")

	cancelScript    = script("cancel").Once() // a second run would not find what the first has removed
	cancelledScript = script("cancelled")
	pauseScript     = script("pause")
	purgeScript     = script("purge").Once() // a second run counts less than both have removed
)

func source(name string) string {
	b, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		panic(err) // the files are compiled in
	}
	return string(b)
}

func script(name string) *redisconn.Script { return redisconn.NewScript(prelude + source(name)) }

// run runs a script on the queue. args come after the channel and must not be changed
// afterwards.
func (b *Broker) run(ctx context.Context, s *redisconn.Script, args []any, abandoned func(context.Context, any)) (any, error) {
	return redisconn.Do(ctx, b.conn, func(ctx context.Context) (any, error) {
		return b.runNow(ctx, s, args)
	}, abandoned)
}

// runNow runs a script within a call that is bounded already.
func (b *Broker) runNow(ctx context.Context, s *redisconn.Script, args []any) (any, error) {
	return s.Run(ctx, b.conn, b.keys.all, []any{b.keys.channel}, args)
}

// runNumbers runs a script that returns a list of numbers.
func (b *Broker) runNumbers(ctx context.Context, s *redisconn.Script, args []any) ([]int64, error) {
	reply, err := b.run(ctx, s, args, nil)
	if err != nil {
		return nil, err
	}
	list, ok := reply.([]any)
	if !ok {
		return nil, strange(reply)
	}
	out := make([]int64, len(list))
	for i, v := range list {
		if out[i], ok = v.(int64); !ok {
			return nil, strange(v)
		}
	}
	return out, nil
}

// runTexts runs a script that returns a list of texts.
func (b *Broker) runTexts(ctx context.Context, s *redisconn.Script, args []any) ([]string, error) {
	reply, err := b.run(ctx, s, args, nil)
	if err != nil {
		return nil, err
	}
	return texts(reply)
}

// runText runs a script that returns a text.
func (b *Broker) runText(ctx context.Context, s *redisconn.Script, args []any) (string, error) {
	reply, err := b.run(ctx, s, args, nil)
	if err != nil {
		return "", err
	}
	text, ok := reply.(string)
	if !ok {
		return "", strange(reply)
	}
	return text, nil
}

// runStep runs a script that walks through a key in steps: its reply is the next cursor and
// a value.
func (b *Broker) runStep(ctx context.Context, s *redisconn.Script, cursor string, size int) (next string, value any, err error) {
	reply, err := b.run(ctx, s, []any{cursor, size}, nil)
	if err != nil {
		return "", nil, err
	}
	list, ok := reply.([]any)
	if !ok || len(list) != 2 {
		return "", nil, strange(reply)
	}
	if next, ok = list[0].(string); !ok {
		return "", nil, strange(reply)
	}
	return next, list[1], nil
}

func texts(reply any) ([]string, error) {
	list, ok := reply.([]any)
	if !ok {
		return nil, strange(reply)
	}
	out := make([]string, len(list))
	for i, v := range list {
		if out[i], ok = v.(string); !ok {
			return nil, strange(v)
		}
	}
	return out, nil
}

// strange is the error of a reply that no Redis gives to our scripts.
func strange(reply any) error {
	return fmt.Errorf("the server's reply is not what was asked for: %.80s", fmt.Sprint(reply))
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 6, 64) }
