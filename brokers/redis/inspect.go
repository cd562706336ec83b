package redis

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/redisconn"
	"github.com/backplane/leptir/task"
)

// Find implements brokers.Inspector.
func (b *Broker) Find(ctx context.Context, id task.ID) (brokers.Item, error) {
	items, err := b.show(ctx, []string{string(id)})
	if err == nil && len(items) == 0 {
		// It may be a message that nobody has looked at yet.
		if err = b.adoptAll(ctx); err == nil {
			items, err = b.show(ctx, []string{string(id)})
		}
	}
	switch {
	case err != nil:
		return brokers.Item{}, b.wrap("find task "+string(id), err)
	case len(items) == 0:
		return brokers.Item{}, b.wrap("find task "+string(id), brokers.ErrNotFound)
	}
	return items[0], nil
}

// List implements brokers.Inspector.
func (b *Broker) List(ctx context.Context, state brokers.State, cursor string, limit int) (items []brokers.Item, next string, err error) {
	limit = min(limit, maxBatch)
	var places []place
	switch state {
	case brokers.StateReady, brokers.StateScheduled, brokers.StateDead:
		places, err = b.page(ctx, state, cursor, limit+1)
	case brokers.StateLeased:
		places, err = b.leased(ctx, cursor)
	default:
		err = fmt.Errorf("unknown state %q; the states are ready, scheduled, leased and dead", string(state))
	}
	if err != nil {
		return nil, "", b.wrap("list tasks", err)
	}
	if limit < 1 {
		return nil, "", nil
	}
	if len(places) > limit {
		places = places[:limit]
		next = places[limit-1].cursor()
	}
	ids := make([]string, len(places))
	for i, p := range places {
		ids[i] = p.member
	}
	items, err = b.show(ctx, ids)
	if err != nil {
		return nil, "", b.wrap("list tasks", err)
	}
	// Some may have gone on to another state meanwhile.
	return slices.DeleteFunc(items, func(it brokers.Item) bool { return it.State != state }), next, nil
}

// place is the place of a task in a set. Its cursor is where the page after it begins.
type place struct{ member, score string }

func (p place) cursor() string { return p.score + " " + p.member }

func (p place) number() float64 { f, _ := strconv.ParseFloat(p.score, 64); return f }

// compare compares places by score, then by member.
func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.number(), q.number()), strings.Compare(p.member, q.member))
}

func parseCursor(s string) (place, error) {
	if s == "" {
		return place{}, nil
	}
	score, member, ok := strings.Cut(s, " ")
	if _, err := strconv.ParseFloat(score, 64); !ok || err != nil {
		return place{}, fmt.Errorf("%q is not a cursor that List returned", s)
	}
	return place{member, score}, nil
}

// page returns places in the waiting set or the dead letters, foreign messages made tasks.
func (b *Broker) page(ctx context.Context, state brokers.State, cursor string, limit int) ([]place, error) {
	from, err := parseCursor(cursor)
	if err != nil {
		return nil, err
	}
	for {
		list, err := b.runTexts(ctx, pageScript, []any{string(state), limit, from.score, from.member})
		if err != nil {
			return nil, err
		}
		if len(list)%3 != 0 {
			return nil, strange(list)
		}
		var places []place
		var foreign []string
		for row := range slices.Chunk(list, 3) {
			if row[2] == "0" && state != brokers.StateDead {
				foreign = append(foreign, row[0])
				continue
			}
			places = append(places, place{row[0], row[1]})
		}
		if len(foreign) == 0 {
			return places, nil
		}
		if err := b.adopt(ctx, foreign); err != nil {
			return nil, err
		}
	}
}

// leased returns the places of all leased tasks after the cursor, by due time. They are few:
// no more than all hosts work on.
func (b *Broker) leased(ctx context.Context, cursor string) ([]place, error) {
	from, err := parseCursor(cursor)
	if err != nil {
		return nil, err
	}
	var places []place
	for rank := 0; ; rank += maxBatch {
		list, err := b.runTexts(ctx, heldScript, []any{rank, maxBatch})
		if err != nil {
			return nil, err
		}
		for i := 0; i+1 < len(list); i += 2 {
			if p := (place{list[i], list[i+1]}); p.score != "" && (cursor == "" || p.compare(from) > 0) {
				places = append(places, p)
			}
		}
		if len(list) < 2*maxBatch {
			break
		}
	}
	slices.SortFunc(places, place.compare)
	return slices.Compact(places), nil
}

// show returns the tasks of the given ids; those that are not there are left out.
func (b *Broker) show(ctx context.Context, ids []string) ([]brokers.Item, error) {
	var items []brokers.Item
	for chunk := range slices.Chunk(ids, 100) {
		args := make([]any, len(chunk))
		for i, id := range chunk {
			args[i] = id
		}
		reply, err := b.run(ctx, showScript, args, nil)
		if err != nil {
			return nil, err
		}
		more, err := b.shown(reply, chunk)
		if err != nil {
			return nil, err
		}
		items = append(items, more...)
	}
	return items, nil
}

// shown reads a script's reply: the time, and what show() in it returns for each of the ids.
func (b *Broker) shown(reply any, ids []string) (items []brokers.Item, err error) {
	rows, ok := reply.([]any)
	if !ok || len(rows) != len(ids)+1 {
		return nil, strange(reply)
	}
	now, ok := rows[0].(string)
	if !ok {
		return nil, strange(reply)
	}
	for i, id := range ids {
		row, err := texts(rows[i+1])
		if err != nil {
			return nil, err
		}
		if len(row) != 6 {
			return nil, strange(row)
		}
		if row[0] != "" {
			items = append(items, b.item(task.ID(id), scoreTime(now), row))
		}
	}
	return items, nil
}

// item makes an Item of what show() returns in a script: value of the hash of tasks, state,
// history, due time, end of lease, time of burial.
func (b *Broker) item(id task.ID, now time.Time, row []string) brokers.Item {
	due, message := splitValue(row[0])
	it := brokers.Item{ID: id, Raw: message}
	it.Task, _ = b.decode(id, message)
	var token string
	if f := strings.SplitN(row[1], " ", 6); len(f) >= 5 {
		token = f[0]
		if f[4] != "-" {
			due = f[4]
		}
		it.Attempt, _ = strconv.Atoi(f[1])
		it.Sequence, _ = strconv.Atoi(f[2])
		it.Lost, _ = strconv.Atoi(f[3])
		if len(f) == 6 {
			it.Note = f[5]
		}
	}
	for line := range strings.Lines(row[2]) {
		var e struct {
			Time    int64  `json:"time"`
			Attempt int    `json:"attempt"`
			What    string `json:"what"`
			Reason  string `json:"reason"`
		}
		if json.Unmarshal([]byte(line), &e) == nil {
			it.History = append(it.History, brokers.Event{Time: time.UnixMilli(e.Time).UTC(), Attempt: e.Attempt, What: e.What, Reason: e.Reason})
		}
	}
	waiting, leased, dead := row[3], row[4], row[5]
	switch {
	case leased != "" && scoreTime(leased).After(now):
		it.State, it.Until, it.Due = brokers.StateLeased, scoreTime(leased), scoreTime(due)
		return it
	case dead != "":
		it.State, it.Due = brokers.StateDead, scoreTime(due)
	case waiting != "":
		it.State, it.Due = brokers.StateReady, scoreTime(waiting)
		if it.Due.After(now) {
			it.State = brokers.StateScheduled
		}
	default: // its lease has ended
		it.State, it.Due = brokers.StateReady, scoreTime(due)
	}
	if token != "" && token != "-" {
		it.Lost++ // ended, though nobody has leased it since
	}
	return it
}

// Requeue implements brokers.Inspector.
func (b *Broker) Requeue(ctx context.Context, ids []task.ID) (missing []task.ID, err error) {
	missing, err = b.eachID(ctx, requeueScript, ids)
	return missing, b.wrap("requeue", err)
}

// Delete implements brokers.Inspector.
func (b *Broker) Delete(ctx context.Context, ids []task.ID) (missing []task.ID, err error) {
	missing, err = b.eachID(ctx, deleteScript, ids)
	if err == nil && len(missing) > 0 {
		// Some may be messages that nobody has looked at yet.
		if err = b.adoptAll(ctx); err == nil {
			missing, err = b.eachID(ctx, deleteScript, missing)
		}
	}
	return missing, b.wrap("delete", err)
}

// eachID runs a script for ids, a bounded number at a time, and returns those that the
// script says are missing.
func (b *Broker) eachID(ctx context.Context, s *redisconn.Script, ids []task.ID) (missing []task.ID, err error) {
	if len(ids) == 0 {
		return nil, b.conn.Usable(ctx)
	}
	for chunk := range slices.Chunk(ids, maxBatch) {
		args := make([]any, len(chunk))
		for i, id := range chunk {
			args[i] = string(id)
		}
		more, err := b.runFor(ctx, s, args, chunk)
		missing = append(missing, more...)
		if err != nil {
			return missing, err
		}
	}
	return missing, nil
}
