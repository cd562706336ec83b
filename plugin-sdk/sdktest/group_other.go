//go:build !unix

package sdktest

import "os/exec"

// setGroup does nothing: there are no process groups here.
func setGroup(*exec.Cmd) {}

// killGroup kills the process of cmd, which has been started.
func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
