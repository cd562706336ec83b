package main

import (
	"errors"
	"os"
	"strings"
	"time"

	"github.com/backplane/leptir/internal/pluginpb"
)

// describe answers Describe. LEPTIR_TEST_TYPES names the task types, separated by commas;
// LEPTIR_TEST_DESCRIBE says how to misbehave.
func describe() (*pluginpb.DescribeResponse, error) {
	d := &pluginpb.DescribeResponse{Name: "test", Version: strings.Join(os.Environ(), "\n")}
	if types := os.Getenv("LEPTIR_TEST_TYPES"); types != "" {
		for t := range strings.SplitSeq(types, ",") {
			d.Tasks = append(d.Tasks, &pluginpb.TaskType{Name: t, Doc: "Type " + t + ".", ParamsSchema: []byte(`{"type":"object"}`)})
		}
	}
	switch os.Getenv("LEPTIR_TEST_DESCRIBE") {
	case "hang":
		time.Sleep(time.Hour)
	case "error":
		return nil, errors.New("no idea what this is")
	case "exit":
		_, _ = os.NewFile(2, "stderr").WriteString("the database is down\n")
		os.Exit(4)
	case "garbage":
		d.Tasks = append(d.Tasks, &pluginpb.TaskType{Name: "../../etc/\x1b[2Jpasswd"})
	case "huge": // more than a message may hold
		d.Tasks = append(d.Tasks, &pluginpb.TaskType{Name: "huge", ParamsSchema: make([]byte, 17<<20)})
	}
	return d, nil
}
