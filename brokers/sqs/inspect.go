package sqs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/task"
)

const (
	// lookHide is how long looking at the dead letters hides them from others who look,
	// at most: in the end they are made visible again.
	lookHide = 2 * time.Minute
	// lookWait makes SQS ask all of its servers, of which a receive that does not wait
	// asks only some.
	lookWait = time.Second
	// lookMax and lookBytes are how many dead letters are looked at. SQS cannot be asked
	// for a certain one, nor for those after another: all have to be received.
	lookMax   = 10_000
	lookBytes = 64 << 20
)

// errOnlyDead is why SQS shows nothing but dead letters.
var errOnlyDead = errors.New("SQS gives tasks only to those who lease them: only dead letters can be looked at")

// Find implements brokers.Inspector, for dead letters.
func (b *Broker) Find(ctx context.Context, id task.ID) (brokers.Item, error) {
	var found *message
	err := b.look(ctx, func(m *message) bool {
		if m.task.ID == id {
			found = m
		}
		return found != nil
	}, nil)
	if err != nil {
		return brokers.Item{}, b.fail(err)
	}
	if found == nil {
		return brokers.Item{}, b.fail(fmt.Errorf("task %s is not among the dead letters: %w; %w", id, brokers.ErrNotFound, errOnlyDead))
	}
	return found.item(), nil
}

// List implements brokers.Inspector, for dead letters. Every page receives all of them
// anew.
func (b *Broker) List(ctx context.Context, s brokers.State, cursor string, limit int) (items []brokers.Item, next string, err error) {
	switch s {
	case brokers.StateDead:
	case brokers.StateReady, brokers.StateScheduled, brokers.StateLeased:
		if err := b.usable(ctx); err != nil {
			return nil, "", b.fail(err)
		}
		return nil, "", b.fail(fmt.Errorf("list %s tasks: %w", s, errOnlyDead))
	default:
		return nil, "", b.fail(fmt.Errorf("unknown state %q; the states are ready, scheduled, leased and dead", string(s)))
	}
	var ms []*message
	if err := b.look(ctx, func(m *message) bool { ms = append(ms, m); return false }, nil); err != nil {
		return nil, "", b.fail(err)
	}
	slices.SortFunc(ms, func(a, b *message) int {
		return cmp.Or(a.buried().Compare(b.buried()), strings.Compare(a.messageID, b.messageID))
	})
	ms, _ = once(ms)
	if cursor != "" {
		nano, id, ok := strings.Cut(cursor, ".")
		n, err := strconv.ParseInt(nano, 10, 64)
		if !ok || err != nil {
			return nil, "", b.fail(fmt.Errorf("%q is not a cursor that List returned", cursor))
		}
		at := time.Unix(0, n)
		ms = slices.DeleteFunc(ms, func(m *message) bool {
			return cmp.Or(m.buried().Compare(at), strings.Compare(m.messageID, id)) <= 0
		})
	}
	for i, m := range ms {
		if i >= limit {
			if i > 0 {
				next = fmt.Sprintf("%d.%s", ms[i-1].buried().UnixNano(), ms[i-1].messageID)
			}
			break
		}
		items = append(items, m.item())
	}
	return items, next, nil
}

// once returns the first letter of each task, and the others: a burial whose answer was lost
// is done again, by the same host or the next, and leaves two.
func once(ms []*message) (first, others []*message) {
	seen := map[task.ID]bool{}
	for _, m := range ms {
		if seen[m.task.ID] {
			others = append(others, m)
			continue
		}
		seen[m.task.ID] = true
		first = append(first, m)
	}
	return first, others
}

// Requeue implements brokers.Inspector. Of several letters of one task one is sent back.
func (b *Broker) Requeue(ctx context.Context, ids []task.ID) (missing []task.ID, err error) {
	return b.takeLetters(ctx, ids, b.sendBack)
}

// sendBack sends copies of dead letters to the main queue and returns the letters for which
// that went well.
func (b *Broker) sendBack(ctx context.Context, ms []*message) (sent []*message, err error) {
	var out []outgoing
	var of []*message
	ms, others := once(ms)
	for _, m := range ms {
		s := m.state
		if s.Buried.IsZero() { // SQS itself has moved it here: its receives were lost leases
			s.Sequence += max(m.receives, b.traits().maxReceive+1)
		}
		o, err := b.copyOf(m, s.anew(), time.Time{})
		if errors.Is(err, errNoRoom) {
			o, err = outgoing{body: m.body, size: len(m.body), group: o.group, dedup: o.dedup}, nil
		}
		if err != nil {
			return nil, err
		}
		out, of = append(out, o), append(of, m)
	}
	errs := b.main.send(ctx, out)
	back := map[task.ID]bool{}
	for i := range errs {
		if errs[i] == nil {
			sent, back[of[i].task.ID] = append(sent, of[i]), true
		}
	}
	for _, m := range others {
		if back[m.task.ID] {
			sent = append(sent, m)
		}
	}
	return sent, summary(errs, "dead letters were not sent back")
}

// Delete implements brokers.Inspector, for dead letters.
func (b *Broker) Delete(ctx context.Context, ids []task.ID) (missing []task.ID, err error) {
	return b.takeLetters(ctx, ids, func(_ context.Context, ms []*message) ([]*message, error) { return ms, nil })
}

// takeLetters deletes the dead letters with the given ids for which do has gone well.
func (b *Broker) takeLetters(ctx context.Context, ids []task.ID,
	do func(context.Context, []*message) ([]*message, error)) (missing []task.ID, err error) {
	wanted := map[task.ID]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	if len(wanted) == 0 {
		return nil, b.fail(b.usable(ctx))
	}
	var mine []*message
	collect := func(m *message) bool {
		if wanted[m.task.ID] {
			mine = append(mine, m)
		}
		return false
	}
	err = b.look(ctx, collect, func(ctx context.Context) (done []*message, err error) {
		done, err = do(ctx, mine)
		handles := make([]string, len(done))
		for i, m := range done {
			handles[i] = m.handle
		}
		return done, errors.Join(err, summary(b.dead.delete(ctx, handles), "dead letters were not deleted"))
	})
	b.deadChanged()
	if err != nil {
		return nil, b.fail(err)
	}
	found := map[task.ID]bool{}
	for _, m := range mine {
		found[m.task.ID] = true
	}
	for _, id := range ids {
		if !found[id] {
			missing = append(missing, id)
		}
	}
	return missing, nil
}

// look receives the dead letters and shows each to see, until there are no more or see
// returns true. Then it calls then, which may be nil, while they are hidden, and makes all
// but those that then returns visible again.
func (b *Broker) look(ctx context.Context, see func(*message) bool, then func(context.Context) (gone []*message, err error)) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	if b.dead == nil {
		return errors.New("there is no queue for dead letters: set sqs_dead_queue, or a redrive policy of the queue")
	}
	select { // two who look at the same time would hide the letters from each other
	case b.looking <- struct{}{}:
		defer func() { <-b.looking }()
	case <-ctx.Done():
		return ctx.Err()
	case <-b.open.Done():
		return brokers.ErrClosed
	}
	seen := map[string]*message{}
	err := b.receiveLetters(ctx, seen, see)
	if err == nil && then != nil {
		var gone []*message
		gone, err = then(ctx)
		for _, m := range gone {
			delete(seen, m.messageID)
		}
	}
	handles := make([]string, 0, len(seen))
	for _, m := range seen {
		handles = append(handles, m.handle)
	}
	rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	for _, err := range b.dead.hide(rctx, handles, make([]int32, len(handles))) {
		if err != nil {
			b.log.Warn("could not make a dead letter visible again; SQS does that in a while", "broker", b.name, "error", err)
			break
		}
	}
	return err
}

// receiveLetters receives dead letters into seen, by message id.
func (b *Broker) receiveLetters(ctx context.Context, seen map[string]*message, see func(*message) bool) error {
	bytes := 0
	for len(seen) < lookMax && bytes < lookBytes {
		in, err := b.dead.receive(ctx, batch, seconds(lookHide), lookWait)
		if err != nil || len(in) == 0 {
			return err
		}
		enough, fresh := false, false
		for _, r := range in {
			m := b.read(r, time.Now(), seconds(lookHide))
			if old := seen[m.messageID]; old != nil {
				old.handle = m.handle // only the latest is good for anything
				continue
			}
			seen[m.messageID] = m
			fresh = true
			bytes += len(m.body)
			enough = see(m) || enough
		}
		if enough || !fresh {
			return nil
		}
	}
	b.log.Warn("there are more dead letters than can be looked at", "broker", b.name, "seen", len(seen))
	return nil
}

// buried returns when the message became a dead letter, as far as that is known.
func (m *message) buried() time.Time {
	if m.state.Buried.IsZero() {
		return m.sent
	}
	return m.state.Buried
}

// item shows a dead letter to an operator.
func (m *message) item() brokers.Item {
	return brokers.Item{
		ID: m.task.ID, State: brokers.StateDead, Task: m.task, Raw: []byte(m.body), Due: m.task.Due().UTC(),
		Attempt: m.state.Attempts, Lost: m.state.Lost, Note: m.state.Note, History: m.state.History,
	}
}
