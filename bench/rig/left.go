package rig

import (
	"context"
	"path/filepath"

	"github.com/backplane/leptir/internal/sqlitedb"
)

// Left counts the tasks that are not settled while a host runs those that were pushed one
// after the other and all succeed. Unlike Remaining it takes no time on a long queue in
// SQLite, whose rows are numbered by their coming and taken in that order.
func (h *Host) Left(ctx context.Context) (left int64, err error) {
	if h.file == nil {
		return h.Remaining(ctx)
	}
	err = h.file.Read(ctx, func(c *sqlitedb.Conn) error {
		first, err := c.Int(`SELECT n FROM tasks INDEXED BY tasks_by_state WHERE state=0 ORDER BY at,n LIMIT 1`)
		if err != nil {
			return err
		}
		left, err = c.Int(`SELECT count(*) FROM tasks INDEXED BY tasks_by_state WHERE state>0`)
		if err != nil || first == 0 {
			return err
		}
		last, err := c.Int(`SELECT max(n) FROM tasks`)
		left += last - first + 1
		return err
	})
	return left, err
}

// openFile opens the file of a queue in SQLite beside its broker.
func (h *Host) openFile(ctx context.Context) (err error) {
	h.file, err = sqlitedb.Open(ctx, sqlitedb.Options{Path: filepath.Join(h.dir, "b0.db")})
	if err == nil {
		h.others = append(h.others, h.file)
	}
	return err
}
