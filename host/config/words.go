package config

import (
	"strconv"
	"strings"

	nearest "github.com/backplane/leptir/internal/suggest"
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
// near.
func suggest(typed string, names []string) string { return nearest.Name(typed, names) }

// quotedList writes names as a list in a sentence.
func quotedList(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	return strings.Join(quoted, ", ")
}
