// Command reporter is an error reporter of one's own: it writes what goes wrong on a host
// into a file, one JSON object a line. Put it into a host's plugin_dir and add to
// leptir.hcl:
//
//	error_reporting "plugin" "file" {
//	  plugin = "reporter"
//	}
//
//	plugin "reporter" {
//	  environment = { REPORT_FILE = "/var/log/leptir/errors.json" }
//	}
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

// fileReporter implements sdk.ErrorReporter; ErrorData keeps the data for it.
type fileReporter struct {
	sdk.ErrorData
	path string
}

// line is what is written of a report.
type line struct {
	Time     time.Time      `json:"time"`
	Kind     string         `json:"kind"`
	Message  string         `json:"message"`
	TaskType string         `json:"task_type,omitempty"`
	TaskID   string         `json:"task_id,omitempty"`
	Attempt  int            `json:"attempt,omitempty"`
	Final    bool           `json:"final,omitempty"`
	Signal   string         `json:"signal,omitempty"`
	Stack    string         `json:"stack,omitempty"`
	Data     map[string]any `json:"data,omitempty"`
}

func (f *fileReporter) ReportException(ctx context.Context, r sdk.ErrorReport) error {
	return f.write(r)
}

func (f *fileReporter) ReportMessage(ctx context.Context, r sdk.ErrorReport) error {
	return f.write(r)
}

// write appends a report to the file. An error tells the host that the report is lost.
func (f *fileReporter) write(r sdk.ErrorReport) error {
	l := line{Time: r.Time, Kind: r.Kind, Message: r.Message, TaskType: r.TaskType, TaskID: r.TaskID, Attempt: r.Attempt,
		Final: r.Final, Stack: r.Stack, Data: f.TakeErrorData()}
	if r.Exit != nil {
		l.Signal = r.Exit.Signal
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.Write(append(text, '\n')); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}

func main() {
	path := os.Getenv("REPORT_FILE")
	if path == "" {
		fmt.Fprintln(os.Stderr, "reporter: REPORT_FILE is not set; errors.json in the working folder is used")
		path = "errors.json"
	}
	sdk.ServeReporter("reporter", &fileReporter{path: path})
}
