package ctl_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/backplane/leptir/host/ctl"
)

func Example() {
	dir, _ := os.MkdirTemp("", "leptir")
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "leptir.hcl")
	_ = os.WriteFile(file, []byte("# the embedded defaults\n"), 0o600)

	for _, args := range [][]string{
		{"push", "invoice.print", "-p", "number=17", "-id", "invoice-17"},
		{"push", "invoice.print", "-delay", "1h", "-id", "invoice-18"},
		{"status"},
		{"push", "invoice.print", "-number", "none"},
	} {
		code := ctl.Run(context.Background(), append(args, "-config", file), os.Stdin, os.Stdout, os.Stdout)
		fmt.Println("exit code", code)
	}
	// Output:
	// invoice-17
	// exit code 0
	// invoice-18
	// exit code 0
	// BROKER   KIND    PRIORITY  RANK WEIGHT  READY  SCHEDULED  LEASED  DEAD  PARKED
	// default  sqlite  0         1            1      1          0       0     0
	//
	// META STORAGE  KIND    ON FAILURE  STATE
	// records       sqlite  wait        ok
	// exit code 0
	// leptirctl: -number must be a whole number, not "none"; see "leptirctl push -help"
	// exit code 2
}
