package catalog

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/task"
)

func TestCheckDescription(t *testing.T) {
	t.Parallel()
	one := func(tt *pluginpb.TaskType) *pluginpb.DescribeResponse {
		return &pluginpb.DescribeResponse{Tasks: []*pluginpb.TaskType{tt}}
	}
	many := func(n int) *pluginpb.DescribeResponse {
		d := &pluginpb.DescribeResponse{}
		for i := range n {
			d.Tasks = append(d.Tasks, &pluginpb.TaskType{Name: "t" + strconv.Itoa(i)})
		}
		return d
	}
	schema := func(size int) []byte { return []byte(`"` + strings.Repeat("x", size-2) + `"`) }
	for _, tt := range []struct {
		name string
		d    *pluginpb.DescribeResponse
		want string
	}{
		{"nothing at all", nil, "it serves no task types"},
		{"nil type", one(nil), "its task type number 1: task type is empty"},
		{"empty name", one(&pluginpb.TaskType{}), "its task type number 1: task type is empty"},
		{"long name", one(&pluginpb.TaskType{Name: strings.Repeat("x", 129)}), "its task type number 1: task type is 129 bytes long, at most 128 are allowed"},
		{"an error reporter alone", &pluginpb.DescribeResponse{ErrorReporter: true}, ""},
		{"many types", many(1000), ""},
		{"too many types", many(1001), "it says that it serves 1001 task types, at most 1000 are allowed"},
		{"large schema", one(&pluginpb.TaskType{Name: "a", ParamsSchema: schema(256 << 10)}), ""},
		{"too large schema", one(&pluginpb.TaskType{Name: "a", ParamsSchema: schema(256<<10 + 1)}), `the schema of its task type "a" is 262145 bytes, at most 262144 are allowed`},
		{"schema is not JSON", one(&pluginpb.TaskType{Name: "a", ParamsSchema: []byte("{")}), `the schema of its task type "a" is not valid JSON`},
		{"deep schema", one(&pluginpb.TaskType{Name: "a", ParamsSchema: []byte(strings.Repeat("[", 100_000))}), `the schema of its task type "a" is not valid JSON`},
		{"twice", &pluginpb.DescribeResponse{Tasks: []*pluginpb.TaskType{{Name: "a"}, {Name: "b"}, {Name: "a"}}}, `it names task type "a" twice`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d, err := checkDescription(tt.d)
			if tt.want != "" {
				require.EqualError(t, err, tt.want)
				return
			}
			require.NoError(t, err)
			require.Len(t, d.types, len(tt.d.Tasks))
		})
	}
	d, err := checkDescription(&pluginpb.DescribeResponse{Version: " v1\n\x1b[2J\u202e " + strings.Repeat("é", 100), Commit: "c0ffee", SdkVersion: "go/1",
		Tasks: []*pluginpb.TaskType{{Name: "b", Doc: "Sends\n\t mail.", ParamsSchema: []byte(`{}`), Revertible: true}, {Name: "a", ParamsSchema: []byte{}}}})
	require.NoError(t, err)
	require.Equal(t, []Type{{Name: "a"}, {Name: "b", Doc: "Sends mail.", ParamsSchema: []byte(`{}`), Revertible: true}}, d.types)
	require.True(t, strings.HasPrefix(d.version, "v1 �[2J� éé"), d.version)
	require.True(t, strings.HasSuffix(d.version, "é…"), d.version)
	require.LessOrEqual(t, len(d.version), maxVersionBytes)
	require.Equal(t, "c0ffee", d.commit)
	require.Equal(t, "go/1", d.sdkVersion)
}

func FuzzCheckDescription(f *testing.F) {
	for _, d := range []*pluginpb.DescribeResponse{
		{},
		{Version: "v1\x1b[2J", Commit: "\u202e", Tasks: []*pluginpb.TaskType{{Name: "mailer.send", Doc: "x\ny", ParamsSchema: []byte(`{"type":"object"}`), Revertible: true}}},
		{Tasks: []*pluginpb.TaskType{{Name: "a"}, {Name: "a"}}},
		{Tasks: []*pluginpb.TaskType{{Name: "../a", ParamsSchema: []byte("{")}}},
	} {
		b, err := proto.Marshal(d)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var pb pluginpb.DescribeResponse
		if proto.Unmarshal(b, &pb) != nil {
			return
		}
		d, err := checkDescription(&pb)
		if err != nil {
			require.Empty(t, d)
			require.LessOrEqual(t, len(err.Error()), 4096)
			return
		}
		require.Len(t, d.types, len(pb.Tasks))
		shown := []string{d.version, d.commit, d.sdkVersion}
		for i, typ := range d.types {
			require.NoError(t, task.ValidateType(typ.Name))
			require.True(t, i == 0 || d.types[i-1].Name < typ.Name)
			require.True(t, typ.ParamsSchema == nil || json.Valid(typ.ParamsSchema))
			shown = append(shown, typ.Doc)
		}
		for _, s := range shown {
			require.True(t, utf8.ValidString(s))
			require.LessOrEqual(t, len(s), maxDocBytes)
			require.False(t, strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }))
		}
		again, err := checkDescription(&pb)
		require.NoError(t, err)
		require.True(t, slices.EqualFunc(d.types, again.types, func(a, b Type) bool { return a.Name == b.Name }))
	})
}

func TestClean(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"", ""}, {"  a \r\n b ", "a b"}, {"\x00\xff", "��"}, {strings.Repeat("x", 16), strings.Repeat("x", 16)},
		{strings.Repeat("x", 21), strings.Repeat("x", 16) + "…"}, {strings.Repeat(" ", 1<<20), ""},
	} {
		require.Equal(t, tt.want, clean(tt.in, 20))
	}
}
