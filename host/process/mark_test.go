package process

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/internal/protocol"
)

// shelfOf is what a plugin has written of one message's results.
func shelfOf(message uint64, results ...Kept) []byte {
	b := binary.NativeEndian.AppendUint64(nil, message)
	b = binary.NativeEndian.AppendUint64(b, 0) // how much is used: the copy is as long as that
	for _, k := range results {
		b = binary.NativeEndian.AppendUint64(b, k.Seq)
		b = binary.NativeEndian.AppendUint32(b, uint32(len(k.Result)))
		b = append(b, k.Result...)
	}
	return b
}

func TestKeptOf(t *testing.T) {
	t.Parallel()
	a, b, c, d := Kept{1, []byte("a")}, Kept{2, []byte("bb")}, Kept{3, []byte{}}, Kept{7, []byte("d")}
	torn := shelfOf(2, c, d)
	for name, tt := range map[string]struct {
		shelves [2][]byte
		want    []Kept
	}{
		"nothing":                     {},
		"the first message":           {[2][]byte{nil, shelfOf(1, a, b)}, []Kept{a, b}},
		"two, in their order":         {[2][]byte{shelfOf(2, c, d), shelfOf(1, a, b)}, []Kept{a, b, c, d}},
		"the second one is the older": {[2][]byte{shelfOf(4, a, b), shelfOf(5, c, d)}, []Kept{a, b, c, d}},
		"a result is torn":            {[2][]byte{torn[:len(torn)-1], shelfOf(1, a)}, []Kept{a, c}},
		"a header is torn":            {[2][]byte{torn[:len(torn)-len(d.Result)-1], nil}, []Kept{c}},
		"not a whole shelf":           {[2][]byte{torn[:7], shelfOf(1, a)}, []Kept{a}},
		"numbers fall":                {[2][]byte{shelfOf(2, a), shelfOf(1, b, a)}, []Kept{b}},
		"a number twice":              {[2][]byte{shelfOf(2, b, b), shelfOf(1, a)}, []Kept{a, b}},
		"no such task":                {[2][]byte{nil, shelfOf(1, Kept{0, nil})}, nil},
		"longer than the shelf":       {[2][]byte{nil, append(shelfOf(1, a), 9, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 'x')}, []Kept{a}},
	} {
		require.Equal(t, tt.want, keptOf(tt.shelves), name)
	}
}

// How much of a shelf is in use is the plugin's word.
func TestShelvesAreBounded(t *testing.T) {
	t.Parallel()
	for _, used := range []uint64{0, 15, 16, 17, protocol.ShelfBytes, protocol.ShelfBytes + 1, 1 << 63} {
		m := &mark{mem: make([]byte, protocol.MarkBytes)}
		binary.NativeEndian.PutUint64(m.mem[protocol.MarkKept+protocol.ShelfBytes+protocol.ShelfUsed:], used)
		shelves := m.shelves()
		require.Nil(t, shelves[0])
		if used > protocol.ShelfResults && used <= protocol.ShelfBytes {
			require.Len(t, shelves[1], int(used))
		} else {
			require.Nil(t, shelves[1])
		}
	}
}

// Whatever a plugin leaves behind, the host reads results in the order of their tasks, or less.
func FuzzKept(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add(shelfOf(1, Kept{1, []byte("a")}, Kept{2, nil}), shelfOf(2, Kept{3, []byte("c")}))
	f.Add(shelfOf(9, Kept{1 << 63, []byte("a")}), shelfOf(0, Kept{3, []byte("c")}))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		last, bytes := uint64(0), 0
		for _, k := range keptOf([2][]byte{a, b}) {
			require.Greater(t, k.Seq, last)
			last = k.Seq
			bytes += len(k.Result)
		}
		require.LessOrEqual(t, bytes, len(a)+len(b))
	})
}
