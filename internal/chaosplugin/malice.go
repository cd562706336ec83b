package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/backplane/leptir/internal/pluginpb"
	"github.com/backplane/leptir/internal/protocol"
)

// malice does what a task does that breaks the rules or attacks others, and reports whether
// it is such a task. What it finds it answers.
func (s *testServer) malice(stream pluginpb.TaskPlugin_RunServer, t *pluginpb.Task) (response string, is bool) {
	send := func(events ...*pluginpb.Event) { _ = stream.Send(&pluginpb.PluginMessage{Events: events}) }
	switch t.Type {
	case "spin-everywhere":
		for range 8 {
			go spin()
		}
		time.Sleep(time.Hour)
	case "deadlock":
		var mu sync.Mutex
		mu.Lock()
		mu.Lock()
	case "panic-elsewhere":
		go func() { panic("nobody is looking") }()
		time.Sleep(time.Hour)
	case "exit-zero":
		os.Exit(0)
	case "die":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Hour)
	case "large-message":
		send(&pluginpb.Event{Kind: &pluginpb.Event_Log{Log: &pluginpb.Log{Id: t.Id, Message: strings.Repeat("m", 64<<20)}}})
		time.Sleep(time.Hour)
	case "large-texts": // all that a message may hold, in places where a word would do
		long := strings.Repeat("s", 1<<20)
		send(&pluginpb.Event{Kind: &pluginpb.Event_Progress{Progress: &pluginpb.Progress{Id: t.Id, Fraction: 1e300, Text: long}}},
			&pluginpb.Event{Kind: &pluginpb.Event_State{State: &pluginpb.State{Id: t.Id, State: -1 << 31}}},
			&pluginpb.Event{Kind: &pluginpb.Event_Log{Log: &pluginpb.Log{Id: t.Id, Level: 1 << 30, Message: long, Attrs: []byte(long)}}},
			&pluginpb.Event{Kind: &pluginpb.Event_State{State: &pluginpb.State{Id: long, State: 1}}},
			&pluginpb.Event{Kind: &pluginpb.Event_Dump{Dump: &pluginpb.Dump{Id: t.Id, Text: []byte(long)}}},
			&pluginpb.Event{Kind: &pluginpb.Event_Push{Push: &pluginpb.Push{Id: t.Id, Task: &pluginpb.Task{Type: long}}}},
			&pluginpb.Event{Kind: &pluginpb.Event_Push{Push: &pluginpb.Push{}}}, &pluginpb.Event{})
	case "late-result":
		time.Sleep(time.Duration(t.TimeLimit) + time.Second)
	case "states":
		for i := range int32(100_000) {
			send(&pluginpb.Event{Kind: &pluginpb.Event_State{State: &pluginpb.State{Id: t.Id, State: i}}})
		}
	case "victim":
		s.victim(t)
	case "attack-sockets":
		return attackSockets(), true
	case "read-secrets":
		return readSecrets(), true
	default:
		return "", false
	}
	return "", true
}

// victim does what its parameters say until it is killed, and writes down before which
// processes it consists of.
func (s *testServer) victim(t *pluginpb.Task) {
	var p struct {
		How     string `json:"how"`
		PIDFile string `json:"pid_file"`
	}
	if err := json.Unmarshal(t.Params, &p); err != nil {
		return
	}
	pids := []int{os.Getpid()}
	if p.How == "fork" {
		for range 3 {
			if child := s.startSelf("orphan", nil); child != nil {
				pids = append(pids, child.Pid)
			}
		}
		// One leaves the process group.
		if child := s.startSelf("orphan", &syscall.SysProcAttr{Setsid: true}); child != nil {
			pids = append(pids, child.Pid)
		}
	}
	text := strings.Trim(fmt.Sprint(pids), "[]")
	if os.WriteFile(p.PIDFile+".new", []byte(text), 0o600) != nil || os.Rename(p.PIDFile+".new", p.PIDFile) != nil {
		return
	}
	switch p.How {
	case "spin":
		spin()
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}
	time.Sleep(time.Hour)
}

// attackSockets tries to talk to every plugin whose socket can be found, and says how many
// sockets there were and how many answered.
func attackSockets() string {
	found, answered := 0, 0
	own := os.Getenv("PLUGIN_UNIX_SOCKET_DIR")
	// A socket lies a few folders below the host's folder for them.
	root := filepath.Dir(filepath.Dir(own))
	_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Type()&os.ModeSocket == 0 || strings.HasPrefix(path, own) {
			return nil
		}
		found++
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		conn, err := grpc.NewClient("passthrough:x", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}))
		if err != nil {
			return nil
		}
		defer conn.Close()
		// Others of this program answer anybody; the SDK does not.
		if d, err := pluginpb.NewTaskPluginClient(conn).Describe(ctx, &pluginpb.DescribeRequest{}); err == nil && d.GetName() != "test" {
			answered++
		}
		return nil
	})
	return fmt.Sprintf("sockets %d, answered %d", found, answered)
}

// readSecrets tries to read what is the host's alone, and says what it could.
func readSecrets() string {
	host, _ := strconv.Atoi(os.Getenv(protocol.EnvHostPID))
	var read []string
	for _, path := range []string{fmt.Sprintf("/proc/%d/environ", host), os.Getenv("LEPTIR_TEST_CONFIG")} {
		if text, err := os.ReadFile(path); err == nil && len(text) > 0 {
			read = append(read, filepath.Base(path))
		}
	}
	if f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", host), os.O_RDONLY, 0); err == nil {
		read = append(read, "mem")
		f.Close()
	}
	if strings.Contains(strings.Join(os.Environ(), "\n"), "TOP_SECRET") {
		read = append(read, "its own environment")
	}
	return fmt.Sprintf("read %v", read)
}
