package sentry

import (
	"path"
	"slices"
	"strconv"
	"strings"

	sentrygo "github.com/getsentry/sentry-go"
)

const (
	// What of a stack is kept; it comes from a plugin, and may hold anything.
	maxFrames   = 100
	maxFrameLen = 500
)

// framesOf reads the first goroutine of a Go stack, as runtime.Stack writes it:
//
//	goroutine 7 [running]:
//	main.(*Mail).DoJob(0xc000010000, {0x1, 0x2})
//		/src/mail/main.go:17 +0x1d
//	created by …
//
// It returns the frames with the outermost first, as Sentry wants them; nil where the text
// is no such stack.
func framesOf(stack string) []sentrygo.Frame {
	lines := strings.Split(stack, "\n")
	start := slices.IndexFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "goroutine ") && strings.HasSuffix(strings.TrimRight(l, "\r"), ":")
	})
	if start < 0 {
		return nil
	}
	var frames []sentrygo.Frame
	for i := start + 1; i+1 < len(lines) && len(frames) < maxFrames; i += 2 {
		function, place := strings.TrimSpace(lines[i]), lines[i+1]
		if function == "" || !strings.HasPrefix(place, "\t") {
			break // the next goroutine
		}
		frames = append(frames, frameOf(function, strings.TrimSpace(place)))
	}
	slices.Reverse(frames)
	return frames
}

// frameOf reads the two lines of one call.
func frameOf(function, place string) sentrygo.Frame {
	function = strings.TrimPrefix(function, "created by ")
	function, _, _ = strings.Cut(function, " in goroutine ")
	if strings.HasSuffix(function, ")") {
		// Its arguments; a method's receiver, and the type arguments "[...]", come before.
		if open := strings.LastIndexByte(function, '('); open > 0 {
			function = function[:open]
		}
	}
	var f sentrygo.Frame
	// The package's path ends at the first dot behind the last slash.
	slash := strings.LastIndexByte(function, '/') + 1
	if dot := strings.IndexByte(function[slash:], '.'); dot >= 0 {
		f.Module, f.Function = limit(function[:slash+dot]), limit(function[slash+dot+1:])
	} else {
		f.Function = limit(function)
	}
	place, _, _ = strings.Cut(place, " ")
	if colon := strings.LastIndexByte(place, ':'); colon >= 0 {
		if line, err := strconv.ParseUint(place[colon+1:], 10, 31); err == nil {
			place, f.Lineno = place[:colon], int(line)
		}
	}
	f.AbsPath, f.Filename = limit(place), limit(path.Base(place))
	f.InApp = inApp(f)
	return f
}

// inApp reports whether a frame is likely the author's own code, which Sentry groups by.
func inApp(f sentrygo.Frame) bool {
	root, _, _ := strings.Cut(f.Module, "/")
	switch {
	case strings.HasPrefix(f.Module, "github.com/backplane/leptir/plugin-sdk"):
		return false
	case f.Module != "main" && !strings.Contains(root, "."):
		return false // the standard library, and panic itself
	}
	return !strings.Contains(f.AbsPath, "/pkg/mod/") && !strings.Contains(f.AbsPath, "/vendor/")
}

func limit(s string) string { return s[:min(len(s), maxFrameLen)] }
