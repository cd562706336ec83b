package catalog_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"

	"github.com/backplane/leptir/host/catalog"
	"github.com/backplane/leptir/host/process"
)

func Example() {
	dir, _ := os.MkdirTemp("", "leptir-example-")
	defer os.RemoveAll(dir)
	plugins := filepath.Join(dir, "plugins")
	_ = os.Mkdir(plugins, 0o700)
	_ = os.WriteFile(filepath.Join(plugins, "mailer"), []byte("#!/bin/sh\necho where is my config? >&2\nexit 1\n"), 0o700)

	launcher, err := process.NewLauncher(filepath.Join(dir, "run"), slog.New(slog.DiscardHandler), hclog.NewNullLogger(), func(process.Line) {})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer launcher.Close()
	c, err := catalog.Open(context.Background(), catalog.Options{Dir: plugins, StateDir: filepath.Join(dir, "state"), Launcher: launcher})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	for _, p := range c.Current().Plugins {
		fmt.Printf("%s is %s: %s\n", p.Name, p.Status, p.Problem)
	}
	_, ok := c.Current().ForType("mailer.send")
	fmt.Println("somebody sends mail:", ok)
	// Output:
	// mailer is broken: start: handshake: it exited with code 1 before it served; is it a leptir plugin?; its last output: where is my config?
	// somebody sends mail: false
}
