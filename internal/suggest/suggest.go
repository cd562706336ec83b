// Package suggest finds the name that a mistyped one was meant to be, for messages that
// end in "did you mean …?".
package suggest

import (
	"strings"

	"github.com/agext/levenshtein"
)

// maxTyped is the longest text that is looked at, in bytes; a longer one is no slip.
const maxTyped = 60

// Name returns the one of names that typed was probably meant to be, "" if none is near: a
// few letters away, or begun and not finished.
func Name(typed string, names []string) string {
	if len(typed) > maxTyped {
		return ""
	}
	typed = strings.ToLower(typed)
	best, nearest := "", 3
	switch {
	case len(typed) < 3:
		nearest = 2
	case len(typed) > 8:
		nearest = len(typed)/3 + 1
	}
	for _, name := range names {
		d := levenshtein.Distance(typed, strings.ToLower(name), nil)
		if d < nearest && d < len(name) {
			best, nearest = name, d
		}
	}
	if best == "" && len(typed) >= 3 {
		for _, name := range names {
			if strings.HasPrefix(name, typed) {
				return name
			}
		}
	}
	return best
}
