//go:build !linux

package sdk

import "github.com/backplane/leptir/internal/pluginpb"

// mark is kept on Linux only; hosts elsewhere do without.
type mark struct{}

func openMark() *mark { return nil }

func (*mark) begun()                     {}
func (*mark) ended()                     {}
func (*mark) keep(*pluginpb.Result) bool { return false }
func (*mark) turn()                      {}
