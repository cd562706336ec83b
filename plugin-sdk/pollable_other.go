//go:build !linux

package sdk

import "os"

// pollable returns f: only on Linux is there something better.
func pollable(f *os.File) *os.File { return f }
