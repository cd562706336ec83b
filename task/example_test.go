package task_test

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/backplane/leptir/task"
)

// A task as producers in any language write it into a queue.
func ExampleEncode() {
	b, _ := task.Encode(&task.Task{
		ID:        "0190b6c8-7a3e-7d55-9d1c-1f0b6a2e9c44",
		Type:      "mailer.send",
		Params:    json.RawMessage(`{"to":"ana@example.org"}`),
		TimeLimit: 90 * time.Second,
	})
	fmt.Println(string(b))
	// Output: {"v":1,"id":"0190b6c8-7a3e-7d55-9d1c-1f0b6a2e9c44","type":"mailer.send","params":{"to":"ana@example.org"},"time_limit":90}
}

func ExampleDecode() {
	t, err := task.Decode([]byte(`{"v":1, "id":"t1", "type":"mailer.send", "at":"2030-01-01T00:00:00+01:00"}`))
	fmt.Println(t.Type, t.At, err)
	_, err = task.Decode([]byte(`{"v":1, "id":"t1", "type":"mailer.send", "params":["ana"]}`))
	fmt.Println(err)
	// Output:
	// mailer.send 2029-12-31 23:00:00 +0000 UTC <nil>
	// decode task: parameters of task t1 are not a JSON object
}

// Additional meta info stands beside the fields of a record, and over them.
func ExampleRecord() {
	b, _ := json.Marshal(task.Record{
		ID: "t1", Status: task.Completed, RetC: task.Success, ExTime: 0.5, RespM: "sent", Type: "mailer.send",
		Meta: map[string]any{"customer": 7, "respM": "sent to 3 recipients"},
	})
	fmt.Println(string(b))
	// Output: {"_id":"t1","customer":7,"exTime":0.5,"leptir":{},"respM":"sent to 3 recipients","retC":1,"status":3,"type":"mailer.send"}
}
