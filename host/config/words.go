package config

import (
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
)

// maxShown is the most characters of a name or value of the file that a message repeats.
const maxShown = 60

// short cuts a text from the file to what fits a message.
func short(s string) string {
	if len(s) <= maxShown {
		return s
	}
	runes := []rune(s[:min(len(s), 4*maxShown+4)])
	if len(runes) <= maxShown {
		return s
	}
	return string(runes[:maxShown]) + "…"
}

// suggest returns the name that a mistyped one was probably meant to be, "" if none is
// near: a few letters away, or begun and not finished.
func suggest(typed string, names []string) string {
	if len(typed) > maxShown {
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

// quotedList writes names as a list in a sentence.
func quotedList(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	return strings.Join(quoted, ", ")
}
