package sqlitedb_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/backplane/leptir/internal/sqlitedb"
)

func Example() {
	dir, _ := os.MkdirTemp("", "leptir")
	defer os.RemoveAll(dir)
	ctx := context.Background()
	db, err := sqlitedb.Open(ctx, sqlitedb.Options{Path: filepath.Join(dir, "leptir.db")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	err = db.Write(ctx, func(c *sqlitedb.Conn) error {
		_, err := c.Exec(`INSERT INTO info(id,delivery,at,record) VALUES(?,?,?,?)`, "t1", 1, 0, "{}")
		return err
	})
	fmt.Println(err)
	_ = db.Read(ctx, func(c *sqlitedb.Conn) error {
		n, err := c.Int(`SELECT count(*) FROM info`)
		fmt.Println(n)
		return err
	})
	// Output:
	// <nil>
	// 1
}
