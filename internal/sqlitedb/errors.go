package sqlitedb

import (
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrClosed is wrapped by the errors of a DB that has been closed.
var ErrClosed = errors.New("database is closed")

// code returns SQLite's primary and extended result codes of an error, 0 of another's.
func code(err error) (primary, extended int) {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff, e.Code()
	}
	return 0, 0
}

func isBusy(err error) bool {
	c, _ := code(err)
	return c == sqlite3.SQLITE_BUSY
}

// spoils reports whether an error may have ended the transaction in which it happened.
func spoils(err error) bool {
	switch c, _ := code(err); c {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY,
		sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY:
		return true
	}
	return false
}

// describe says in the words of a user what has happened to the database, and what to do.
// Errors that are not SQLite's pass through with the path added.
func describe(path string, err error) error {
	primary, extended := code(err)
	switch {
	case primary == sqlite3.SQLITE_FULL, extended == sqlite3.SQLITE_IOERR_SHMSIZE:
		return fmt.Errorf("%s: the disk is full; nothing was written, free some room and it works again: %w", path, err)
	case primary == sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%s is not a database; move the file away or choose another path: %w", path, err)
	case primary == sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%s is damaged; restore it from a backup, or move it away to start anew: %w", path, err)
	case primary == sqlite3.SQLITE_READONLY:
		return fmt.Errorf("%s cannot be written; check the permissions of the file and its folder: %w", path, err)
	case primary == sqlite3.SQLITE_CANTOPEN:
		return fmt.Errorf("%s cannot be opened; check the permissions of the file and its folder: %w", path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// locked is the error of a write that did not get its turn.
func locked(path string, waited time.Duration) error {
	return fmt.Errorf("%s is locked by another process (waited %v)", path, waited.Round(10*time.Millisecond))
}
