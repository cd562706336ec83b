package sqlitedb

import "strings"

// many is how many rows one statement of an Inserter takes. Measured with 400-byte rows, a
// row costs 40 % less in statements of 32 than alone; more gain nothing.
const many = 32

// Inserter inserts rows, many with one statement.
type Inserter struct {
	columns   int
	one, most string
}

// NewInserter returns an Inserter for rows of so many columns; its statements begin with
// head ("INSERT INTO t(a,b)") and end with tail ("ON CONFLICT DO NOTHING").
func NewInserter(columns int, head, tail string) *Inserter {
	row := "(" + strings.TrimSuffix(strings.Repeat("?,", columns), ",") + ")"
	return &Inserter{
		columns: columns,
		one:     head + " VALUES " + row + " " + tail,
		most:    head + " VALUES " + strings.Repeat(row+",", many-1) + row + " " + tail,
	}
}

// Insert inserts n rows, in order; row appends the values of row i to args.
func (in *Inserter) Insert(c *Conn, n int, row func(args []any, i int) []any) (changed int64, err error) {
	args := make([]any, 0, min(n, many)*in.columns)
	for i := 0; i < n; {
		query, step := in.one, 1
		if n-i >= many {
			query, step = in.most, many
		}
		args = args[:0]
		for j := range step {
			args = row(args, i+j)
		}
		m, err := c.Exec(query, args...)
		if err != nil {
			return changed, err
		}
		changed += m
		i += step
	}
	return changed, nil
}
