package sqlitedb

import (
	"fmt"
	"strings"
)

// applicationID marks the file as leptir's: "lept" in ASCII.
const applicationID = 0x6c657074

// migrations make the tables, each entry from the version before it; the version is the
// number of entries, and stands in the file as user_version. A file of an older version is
// brought up when it is opened, one of a newer version is refused.
var migrations = []string{
	// tasks holds the queue (brokers/sqlite), a task a row.
	//
	//	state     at                    due
	//	0 waiting when it is due        the same
	//	1 leased  when the lease ends   when it was due: its place in the queue
	//	2 dead    when it was buried    when it was due
	//	3 parked  when it is due        the same
	//
	// Times are microseconds since 1970. The one index serves all: what to lease, which
	// leases have ended, and the counts. body comes last so that the rest of a row with a
	// large one is read without it.
	//
	// info holds the records (metastore/sqlite): delivery decides which of two stays, at is
	// when it was written. Rows are numbered, though ids are unique: a tree of whole records
	// by id has few keys a page, and a put into it costs a third more.
	`CREATE TABLE tasks(
		n        INTEGER PRIMARY KEY,
		id       TEXT    NOT NULL UNIQUE,
		state    INTEGER NOT NULL,
		at       INTEGER NOT NULL,
		due      INTEGER NOT NULL,
		token    INTEGER,
		attempts INTEGER NOT NULL DEFAULT 0,
		sequence INTEGER NOT NULL DEFAULT 0,
		lost     INTEGER NOT NULL DEFAULT 0,
		note     TEXT,
		history  TEXT,
		body     TEXT    NOT NULL
	);
	CREATE INDEX tasks_by_state ON tasks(state, at);
	CREATE TABLE info(
		n        INTEGER PRIMARY KEY,
		id       TEXT    NOT NULL UNIQUE,
		delivery INTEGER NOT NULL,
		at       INTEGER NOT NULL,
		record   TEXT    NOT NULL
	);`,

	// cancel is somebody's wish that a leased task ends; the index holds those few alone.
	// switches holds what is set for the queue as a whole: paused is since when it is.
	`ALTER TABLE tasks ADD COLUMN cancel TEXT;
	CREATE INDEX tasks_cancelled ON tasks(n) WHERE cancel IS NOT NULL;
	CREATE TABLE switches(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;`,
}

// migrate makes the tables, or checks that they are those that this program knows. Its
// error is SQLite's own where the file is busy.
func migrate(c *Conn, path string) error {
	if ready, err := checkFile(c, path); err != nil || ready {
		return err
	}
	if _, err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := makeSchema(c, path)
	if err == nil {
		_, err = c.Exec("COMMIT")
	}
	if err != nil {
		_, _ = c.Exec("ROLLBACK")
	}
	return err
}

// checkFile is checkSchema in a transaction of its own: another process may be making the
// schema just now, and half of what was there before it with half of what is there after it
// looks like somebody else's file.
func checkFile(c *Conn, path string) (ready bool, err error) {
	if _, err := c.Exec("BEGIN"); err != nil {
		return false, err
	}
	ready, err = checkSchema(c, path)
	if _, end := c.Exec("ROLLBACK"); err == nil { // nothing was written
		err = end
	}
	return ready, err
}

// checkSchema reports whether the file has this program's schema. One that it must not
// touch is an error.
func checkSchema(c *Conn, path string) (ready bool, err error) {
	app, err := c.Int("PRAGMA application_id")
	if err != nil {
		return false, err
	}
	if app != applicationID {
		tables, err := c.Int("SELECT count(*) FROM sqlite_schema")
		if err != nil {
			return false, err
		}
		if app != 0 || tables > 0 {
			return false, fmt.Errorf("%s is the database of another program; choose another path", path)
		}
		return false, nil
	}
	version, err := c.Int("PRAGMA user_version")
	if err != nil {
		return false, err
	}
	if version > int64(len(migrations)) {
		return false, fmt.Errorf("%s was written by a newer leptir (schema %d, this one knows up to %d); use that version, or another path", path, version, len(migrations))
	}
	return version == int64(len(migrations)), nil
}

// makeSchema brings the file up to this program's schema, within a transaction.
func makeSchema(c *Conn, path string) error {
	if ready, err := checkSchema(c, path); err != nil || ready {
		return err // another process was first
	}
	version, err := c.Int("PRAGMA user_version")
	if err != nil {
		return err
	}
	for _, migration := range migrations[version:] {
		for _, q := range strings.Split(migration, ";") {
			if strings.TrimSpace(q) == "" {
				continue
			}
			if _, err := c.Exec(q); err != nil {
				return err
			}
		}
	}
	if _, err = c.Exec(fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return err
	}
	_, err = c.Exec(fmt.Sprintf("PRAGMA user_version = %d", len(migrations)))
	return err
}
