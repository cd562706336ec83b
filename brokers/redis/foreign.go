package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/backplane/leptir/task"
)

// A foreign message is a member of the waiting set that is a whole message instead of an id
// with its payload elsewhere: producers of the original leptir, and anybody with redis-cli,
// put them there. They become tasks when they are first met, by a lease or by an operator.

// foreignID returns the id of the task that a foreign message becomes: the message's own, or,
// where it cannot be read, one made of its text.
func (b *Broker) foreignID(message string) task.ID {
	if t, err := task.DecodeAny([]byte(message), b.aliases); err == nil {
		return t.ID
	}
	sum := sha256.Sum256([]byte(message))
	return task.ID("unreadable-" + hex.EncodeToString(sum[:16]))
}

// adopt makes tasks of foreign messages.
func (b *Broker) adopt(ctx context.Context, messages []string) error {
	for len(messages) > 0 {
		var args []any
		var ids []task.ID
		size := 0
		for len(ids) < len(messages) && len(ids) < maxBatch && size < maxBatchBytes {
			m := messages[len(ids)]
			id := b.foreignID(m)
			ids = append(ids, id)
			args = append(args, m, string(id))
			size += len(m)
		}
		messages = messages[len(ids):]
		dropped, err := b.runFor(ctx, adoptScript, args, ids)
		for _, id := range dropped {
			b.log.Warn("a message was dropped: its task is in the queue already", "broker", b.name, "task", id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// adoptAll makes tasks of all foreign messages that are in the queue, due or not.
func (b *Broker) adoptAll(ctx context.Context) error {
	_, placeless, err := b.count(ctx)
	if err != nil || placeless >= 0 {
		return err // there are no more members than tasks
	}
	for cursor := "0"; ; {
		next, value, err := b.runStep(ctx, foreignScript, cursor, 500)
		if err != nil {
			return err
		}
		messages, err := texts(value)
		if err != nil {
			return err
		}
		if err := b.adopt(ctx, messages); err != nil {
			return err
		}
		if next == "0" {
			return nil
		}
		cursor = next
	}
}
