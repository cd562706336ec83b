package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSnapshot(t *testing.T) {
	t.Parallel()
	s := NewSnapshot([]Plugin{
		{Name: "c", Status: StatusConflict, Types: []Type{{Name: "one", ServedBy: "b"}, {Name: "two"}}},
		{Name: "a", Status: StatusBroken, Types: []Type{{Name: "three"}}},
		{Name: "b", Status: StatusReady, Types: []Type{{Name: "one"}}},
	})
	for typ, want := range map[string]string{"one": "b", "two": "c", "three": "", "": ""} {
		p, ok := s.ForType(typ)
		require.Equal(t, want, p.Name, typ)
		require.Equal(t, want != "", ok)
	}
	require.Equal(t, "a", s.Plugins[0].Name)
	p, ok := s.Plugin("c")
	require.True(t, ok)
	require.Equal(t, StatusConflict, p.Status)
	_, ok = s.Plugin("d")
	require.False(t, ok)
	_, ok = (&Snapshot{}).ForType("one")
	require.False(t, ok)
}

func BenchmarkForType(b *testing.B) {
	s := NewSnapshot([]Plugin{{Name: "mailer", Status: StatusReady, Types: []Type{{Name: "mailer.send"}}}})
	for b.Loop() {
		if _, ok := s.ForType("mailer.send"); !ok {
			b.Fatal("not found")
		}
	}
}
