// Command clidocs writes the reference of leptir's command lines, from the commands
// themselves: docs/cli.md and the man pages.
//
//	clidocs              print docs/cli.md
//	clidocs -man FOLDER  write the man pages to a folder
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	man := flag.String("man", "", "write the man pages to this `folder`, instead of printing the reference")
	flag.Parse()
	if *man == "" {
		fmt.Print(reference())
		return
	}
	if err := manPages(*man); err != nil {
		fmt.Fprintln(os.Stderr, "clidocs:", err)
		os.Exit(1)
	}
}
