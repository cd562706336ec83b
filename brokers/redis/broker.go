package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/redisconn"
	"github.com/backplane/leptir/task"
)

const (
	// maxBatch is the most tasks that one script works on: the server does nothing else
	// meanwhile.
	maxBatch = 1000
	// maxBatchBytes is about the most payload that one call carries.
	maxBatchBytes = 8 << 20
	// maxReason is the longest text that the history and the note keep, in bytes.
	maxReason = 8 << 10
)

// Broker is one handle on a queue. It implements brokers.Broker and all its optional
// abilities, and is safe for concurrent use.
type Broker struct {
	conn    *redisconn.Client
	keys    keys
	poll    time.Duration
	name    string
	log     *slog.Logger
	aliases map[string]string
	now     func() time.Time // this machine's clock
	server  brokers.ServerClock

	background context.Context // ends with Close
	stop       context.CancelFunc
	workers    sync.WaitGroup

	handle string // begins all its tokens
	leases atomic.Uint64

	listening sync.Once
	wakes     wakes
	rescue    rescue
}

var (
	_ brokers.Broker    = (*Broker)(nil)
	_ brokers.Waiter    = (*Broker)(nil)
	_ brokers.Inspector = (*Broker)(nil)
	_ brokers.Canceller = (*Broker)(nil)
	_ brokers.Pauser    = (*Broker)(nil)
	_ brokers.Purger    = (*Broker)(nil)
	_ brokers.Clocked   = (*Broker)(nil)
)

// open checks the queue at the other end of conn, which it takes over if all is well.
func open(ctx context.Context, conn *redisconn.Client, s *Settings, env brokers.Env) (*Broker, error) {
	k, err := keysOf(s.Connection.Key)
	if err != nil {
		return nil, err
	}
	b := &Broker{conn: conn, keys: k, poll: s.PollInterval, name: env.Name, log: env.Logger, aliases: env.Aliases, now: env.Clock(), handle: rand.Text()}
	b.background, b.stop = context.WithCancel(context.Background())
	b.wakes.init()
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if _, err := b.Stats(ctx); err != nil { // checks the keys and the user's rights as well
		b.stop()
		b.workers.Wait()
		return nil, errors.Unwrap(err)
	}
	b.warnOfEviction(ctx)
	return b, nil
}

// Close ends the use of this handle; the tasks stay in the queue.
func (b *Broker) Close() error {
	b.stop()
	err := b.conn.Close()
	b.workers.Wait()
	if err != nil {
		return fmt.Errorf("broker %q: %w", b.name, err)
	}
	return nil
}

// Push implements brokers.Broker.
func (b *Broker) Push(ctx context.Context, tasks []task.Task) error {
	var args []any
	size := 0
	flush := func() error {
		if len(args) == 0 {
			return nil
		}
		_, err := b.run(ctx, pushScript, args, nil)
		args, size = nil, 0
		return err
	}
	if len(tasks) == 0 {
		return b.wrap("push", b.conn.Usable(ctx))
	}
	for i := range tasks {
		payload, err := task.Encode(&tasks[i])
		if err != nil {
			return b.wrap("push", err)
		}
		due := score(tasks[i].At)
		if due != "" {
			payload = value(due, payload)
		} else { // the server puts in its own time where this one is to come
			due = "~" + score(tasks[i].PushedAt)
		}
		args = append(args, string(tasks[i].ID), due, payload)
		size += len(payload)
		if len(args) >= 3*maxBatch || size >= maxBatchBytes {
			if err := flush(); err != nil {
				return b.wrap("push", err)
			}
		}
	}
	return b.wrap("push", flush())
}

// Lease implements brokers.Broker. Of large tasks it leases fewer than it is asked for.
func (b *Broker) Lease(ctx context.Context, max int, ttl time.Duration) ([]brokers.Delivery, error) {
	var ds []brokers.Delivery
	rounds := 0
	for {
		n := min(max-len(ds), maxBatch)
		if n < 1 {
			if max < 1 {
				return nil, b.wrap("lease", b.conn.Usable(ctx))
			}
			return ds, nil
		}
		// Twice it makes tasks of foreign messages, then it passes those that came since by.
		more, foreign, err := b.lease(ctx, n, ttl, rounds < 2)
		if ds == nil {
			ds = more
		} else {
			ds = append(ds, more...)
		}
		if err == nil && len(foreign) > 0 {
			rounds++
			if err = b.adopt(ctx, foreign); err == nil {
				continue
			}
		}
		if err != nil {
			if len(ds) > 0 {
				return ds, nil // the error comes again, at the next call
			}
			return nil, b.wrap("lease", err)
		}
		if len(more) < n {
			return ds, nil
		}
	}
}

// lease leases tasks by one script; with stop it stops at foreign messages and returns them.
func (b *Broker) lease(ctx context.Context, max int, ttl time.Duration, stop bool) ([]brokers.Delivery, []string, error) {
	token := b.newToken()
	flag := "0"
	if stop {
		flag = "1"
	}
	began := b.now()
	args := []any{max, seconds(ttl.Seconds()), token, flag, maxBatchBytes}
	reply, err := b.run(ctx, leaseScript, args, func(ctx context.Context, reply any) { b.giveBack(ctx, token, reply) })
	if err != nil {
		return nil, nil, err
	}
	foreign, leased, server, err := leaseReply(reply)
	if err != nil {
		return nil, nil, err
	}
	b.compareClocks(began, server)
	ds := make([]brokers.Delivery, len(leased)/3)
	for i := range ds {
		ds[i], err = b.delivery(leased[3*i], leased[3*i+1], leased[3*i+2])
		if err != nil {
			return nil, nil, err
		}
		ds[i].Token, ds[i].Until = token, began.Add(ttl)
	}
	return ds, foreign, nil
}

func leaseReply(reply any) (foreign, leased []string, server time.Time, err error) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 3 {
		return nil, nil, server, strange(reply)
	}
	if foreign, err = texts(parts[0]); err != nil {
		return nil, nil, server, err
	}
	if leased, err = texts(parts[1]); err != nil {
		return nil, nil, server, err
	}
	now, ok := parts[2].(string)
	if !ok || len(leased)%3 != 0 {
		return nil, nil, server, strange(reply)
	}
	return foreign, leased, scoreTime(now), nil
}

// slack is how far apart two clocks may be without it being told from a slow answer.
const slack = 2 * time.Second

// compareClocks takes in what the server's clock showed when it answered a call that began
// at a time of this machine's.
func (b *Broker) compareClocks(began, server time.Time) {
	now := b.now()
	if now.Sub(began) > slack {
		return // nobody knows when it answered
	}
	b.server.Set(server.Add(now.Sub(began) / 2))
}

// Skew implements brokers.Clocked. It is known since the first Lease.
func (b *Broker) Skew() time.Duration { return b.server.Skew(b.now()) }

// giveBack returns what was leased for a caller who has gone since.
func (b *Broker) giveBack(ctx context.Context, token string, reply any) {
	_, leased, _, err := leaseReply(reply)
	if err != nil || len(leased) == 0 {
		return
	}
	args := []any{0}
	for i := 0; i < len(leased); i += 3 {
		args = append(args, leased[i], token, brokers.Release.String(), "", "")
	}
	if _, err := b.runNow(ctx, settleScript, args); err != nil {
		b.log.Warn("tasks that were leased for a call that was cancelled wait until their lease ends", "broker", b.name, "tasks", len(leased)/3, "error", err)
	}
}

// newToken returns a token that nobody else has. It is so long that Redis never takes the
// hash of states for a small one, in which it would search from the beginning.
func (b *Broker) newToken() string {
	return fmt.Sprintf("%s-%037d", b.handle, b.leases.Add(1))
}

// delivery makes a delivery of a value of the hash of tasks and the counts "ATTEMPTS SEQUENCE
// LOST DUE", after which the wish may stand that the task ends.
func (b *Broker) delivery(id, value, counts string) (brokers.Delivery, error) {
	var n [3]int
	rest := counts
	for i := range n {
		var word string
		var err error
		word, rest, _ = strings.Cut(rest, " ")
		if n[i], err = strconv.Atoi(word); err != nil {
			return brokers.Delivery{}, strange(counts)
		}
	}
	d := brokers.Delivery{Attempt: n[0] + 1, Sequence: n[1], Lost: n[2], Repeated: n[2] > 0}
	if _, wish, cancelled := strings.Cut(rest, " "); cancelled {
		c := brokers.DecodeCancellation(wish)
		d.Cancel = &c
	}
	_, message := splitValue(value)
	d.Task, d.Unreadable = b.decode(task.ID(id), message)
	if d.Unreadable != nil {
		d.Raw = message
	}
	return d, nil
}

// value returns the value of the hash of tasks for a message that is due at a score. It is
// JSON where the message is.
func value(due string, message []byte) []byte {
	out := make([]byte, 0, len(`{"due":,"task":}`)+len(due)+len(message))
	out = append(append(append(out, `{"due":`...), due...), `,"task":`...)
	return append(append(out, message...), '}')
}

// splitValue is the inverse of value. Of something else it returns all as the message.
func splitValue(v string) (due string, message []byte) {
	rest, ok := strings.CutPrefix(v, `{"due":`)
	if ok {
		due, rest, ok = strings.Cut(rest, `,"task":`)
	}
	if !ok || !strings.HasSuffix(rest, "}") {
		return "", []byte(v)
	}
	return due, []byte(rest[:len(rest)-1])
}

// decode reads the payload of the task with the given id. On an error only the task's ID is
// filled in.
func (b *Broker) decode(id task.ID, payload []byte) (task.Task, error) {
	t, err := task.DecodeAny(payload, b.aliases)
	if err == nil && t.ID != id {
		err = fmt.Errorf("the message of task %s says that it is task %s", id, t.ID)
	}
	if err != nil {
		return task.Task{ID: id}, err
	}
	return t, nil
}

// Extend implements brokers.Broker.
func (b *Broker) Extend(ctx context.Context, ttl time.Duration, ds []brokers.Delivery) (lost []task.ID, err error) {
	if len(ds) == 0 {
		return nil, b.wrap("extend", b.conn.Usable(ctx))
	}
	for chunk := range slices.Chunk(ds, maxBatch) {
		args := []any{seconds(ttl.Seconds())}
		var ids []task.ID
		for _, d := range chunk {
			if !plausible(d.Token) {
				lost = append(lost, d.Task.ID)
				continue
			}
			ids = append(ids, d.Task.ID)
			args = append(args, string(d.Task.ID), d.Token)
		}
		more, err := b.runFor(ctx, extendScript, args, ids)
		lost = append(lost, more...)
		if err != nil {
			return lost, b.wrap("extend", err)
		}
	}
	return lost, nil
}

// Settle implements brokers.Broker.
func (b *Broker) Settle(ctx context.Context, ss []brokers.Settlement) (lost []task.ID, err error) {
	for _, s := range ss {
		if s.Verdict < brokers.Done || s.Verdict > brokers.Bury {
			return nil, b.wrap("settle", fmt.Errorf("task %s: %d is not a verdict", s.ID, s.Verdict))
		}
	}
	if len(ss) == 0 {
		return nil, b.wrap("settle", b.conn.Usable(ctx))
	}
	for chunk := range slices.Chunk(ss, maxBatch) {
		args := make([]any, 1, 1+2*len(chunk))
		var ids, otherIDs []task.ID
		var others []any
		for _, s := range chunk {
			switch {
			case !plausible(s.Token):
				lost = append(lost, s.ID)
			case s.Verdict == brokers.Done:
				ids = append(ids, s.ID)
				args = append(args, string(s.ID), s.Token)
			default:
				otherIDs = append(otherIDs, s.ID)
				others = append(others, string(s.ID), s.Token, s.Verdict.String(), score(s.At), clip(s.Reason))
			}
		}
		args[0] = len(ids)
		more, err := b.runFor(ctx, settleScript, append(args, others...), append(ids, otherIDs...))
		lost = append(lost, more...)
		if err != nil {
			return lost, b.wrap("settle", err)
		}
	}
	return lost, nil
}

// plausible reports whether the token can be one of ours; others would confuse the scripts.
func plausible(token string) bool { return token != "" && !strings.Contains(token, " ") }

// runFor runs a script that returns the numbers (from 1) of some of the ids, and returns
// those ids.
func (b *Broker) runFor(ctx context.Context, s *redisconn.Script, args []any, ids []task.ID) ([]task.ID, error) {
	if len(ids) == 0 {
		return nil, b.conn.Usable(ctx)
	}
	numbers, err := b.runNumbers(ctx, s, args)
	if err != nil {
		return nil, err
	}
	var out []task.ID
	for _, number := range numbers {
		if number < 1 || int(number) > len(ids) {
			return out, strange(number)
		}
		out = append(out, ids[number-1])
	}
	return out, nil
}

// Stats implements brokers.Broker.
func (b *Broker) Stats(ctx context.Context) (brokers.Stats, error) {
	stats, placeless, err := b.count(ctx)
	if err != nil {
		return brokers.Stats{}, b.wrap("count tasks", err)
	}
	if placeless > 0 {
		b.startRescue()
	}
	return stats, nil
}

// count counts the tasks by state, and by how many those that the queue knows outnumber those
// that have a place in it: above 0, some have lost it; below, there are foreign messages.
func (b *Broker) count(ctx context.Context) (s brokers.Stats, placeless int64, err error) {
	n, err := b.runNumbers(ctx, statsScript, nil)
	if err == nil && len(n) != 7 {
		err = strange(n)
	}
	if err != nil {
		return brokers.Stats{}, 0, err
	}
	return brokers.Stats{Ready: n[0], Scheduled: n[1], Leased: n[2], Dead: n[3], Parked: n[4], Paused: n[6] == 1}, n[5], nil
}

// wrap names the broker and what it was about.
func (b *Broker) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("broker %q: %s: %w", b.name, what, b.detail(err))
}

// detail turns the errors of the connection into those of a broker, and says which key has a
// wrong type where that is the error.
func (b *Broker) detail(err error) error {
	if errors.Is(err, redisconn.ErrClosed) {
		return brokers.ErrClosed
	}
	if !strings.Contains(err.Error(), "WRONGTYPE") {
		return err
	}
	for i, key := range b.keys.all {
		kind, asked := redisconn.Do(b.background, b.conn, func(ctx context.Context) (string, error) {
			return b.conn.Redis.Type(ctx, key).Result()
		}, nil)
		if asked == nil && kind != "none" && kind != b.keys.kinds[i] {
			return fmt.Errorf("the key %q holds a %s of somebody else, it should be a %s of leptir's: rename it, or set another key: %w",
				key, kind, b.keys.kinds[i], err)
		}
	}
	return err
}

// clip shortens a text to what the queue keeps, at the end of a character.
func clip(s string) string {
	if len(s) <= maxReason {
		return s
	}
	return strings.ToValidUTF8(s[:maxReason], "")
}

// score returns a time as a score: unix seconds with all its microseconds; "" for the zero
// time.
func score(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return seconds(float64(t.UnixMicro()) / 1e6)
}

// scoreTime returns a score as a time, at the most the last that JSON can write.
func scoreTime(s string) time.Time {
	const last = 253402300799 // the end of the year 9999
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || !(f > -last):
		return time.Time{}
	case f > last:
		return time.Unix(last, 0).UTC()
	}
	return time.UnixMicro(int64(math.Round(f * 1e6))).UTC()
}
