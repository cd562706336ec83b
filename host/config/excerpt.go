package config

import (
	"bytes"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
)

// maxExcerpt is the most characters that are shown of a line of the file.
const maxExcerpt = 120

// hidden is what stands for text that must not be shown.
const hidden = "***"

// excerpt returns the line of src on which a range begins, as it can be shown, and the
// marks to stand below the range. It reports false where there is nothing to show.
func excerpt(src []byte, at hcl.Range, masked []hcl.Range) (line, mark string, ok bool) {
	if at.Start.Byte < 0 || at.Start.Byte > len(src) {
		return "", "", false
	}
	first := bytes.LastIndexByte(src[:at.Start.Byte], '\n') + 1
	last := len(src)
	if i := bytes.IndexByte(src[at.Start.Byte:], '\n'); i >= 0 {
		last = at.Start.Byte + i
	}
	if len(bytes.TrimSpace(src[first:last])) == 0 && len(src) == 0 {
		return "", "", false
	}
	cells := cellsOf(src, first, last, at, masked)
	cells = window(cells)
	var text, marks strings.Builder
	marked := false
	for _, c := range cells {
		text.WriteRune(c.shown)
		switch {
		case c.marked:
			marks.WriteByte('^')
			marked = true
		case c.shown == '\t':
			marks.WriteByte('\t')
		default:
			marks.WriteByte(' ')
		}
	}
	mark = strings.TrimRight(marks.String(), " \t")
	if !marked { // an empty range, or one at the end of the line
		mark = marks.String() + "^"
	}
	return text.String(), mark, true
}

// cell is one character of a line as it is shown.
type cell struct {
	shown  rune
	marked bool
}

// cellsOf returns the characters of src[first:last] with what is masked replaced, those in
// the range at marked.
func cellsOf(src []byte, first, last int, at hcl.Range, masked []hcl.Range) []cell {
	end := max(at.End.Byte, at.Start.Byte+1)
	var cells []cell
	inMask := -1 // where the cells of the mask that is being skipped begin
	for i, r := range string(src[first:last]) {
		pos := first + i
		mark := pos >= at.Start.Byte && pos < end
		if within(pos, masked) {
			if inMask < 0 {
				inMask = len(cells)
				for _, star := range hidden {
					cells = append(cells, cell{shown: star})
				}
			}
			if mark {
				for j := inMask; j < len(cells); j++ {
					cells[j].marked = true
				}
			}
			continue
		}
		inMask = -1
		if r != '\t' && !unicode.IsPrint(r) {
			if r == '\r' {
				continue
			}
			r = '·'
		}
		cells = append(cells, cell{r, mark})
	}
	return cells
}

// within reports whether a byte lies in one of the ranges.
func within(pos int, ranges []hcl.Range) bool {
	for _, r := range ranges {
		if pos >= r.Start.Byte && pos < r.End.Byte {
			return true
		}
	}
	return false
}

// window cuts a long line to what is around its first mark.
func window(cells []cell) []cell {
	if len(cells) <= maxExcerpt {
		return cells
	}
	from := len(cells) - maxExcerpt
	for i, c := range cells {
		if c.marked {
			from = min(from, max(0, i-maxExcerpt/4))
			break
		}
	}
	shown := append([]cell(nil), cells[from:from+maxExcerpt]...)
	if from > 0 {
		shown[0].shown = '…'
	}
	if from+maxExcerpt < len(cells) {
		shown[len(shown)-1].shown = '…'
	}
	return shown
}
