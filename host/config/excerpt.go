package config

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// maxExcerpt is the most characters that are shown of a line of the file.
const maxExcerpt = 120

// nearby is how many bytes of a line are looked at on either side of a place.
const nearby = 8 * maxExcerpt

// hidden is what stands for text that must not be shown.
const hidden = "***"

// excerpt returns the line of src on which a range begins, as it can be shown, and the
// marks to stand below the range. It reports false where there is nothing to show.
func excerpt(src []byte, at hcl.Range, masked []hcl.Range) (line, mark string, ok bool) {
	if len(src) == 0 || at.Start.Byte < 0 || at.Start.Byte > len(src) {
		return "", "", false
	}
	// Only what is near can be in the window of a long line.
	first := min(at.Start.Byte, runeStart(src, max(0, at.Start.Byte-nearby)))
	first += bytes.LastIndexByte(src[first:at.Start.Byte], '\n') + 1
	last := max(at.Start.Byte, runeStart(src, min(len(src), at.Start.Byte+nearby)))
	if i := bytes.IndexByte(src[at.Start.Byte:last], '\n'); i >= 0 {
		last = at.Start.Byte + i
	}
	cells := window(cellsOf(src, first, last, at, masked))
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

// runeStart returns the first place at or after pos where a character begins.
func runeStart(src []byte, pos int) int {
	for pos < len(src) && !utf8.RuneStart(src[pos]) {
		pos++
	}
	return pos
}

// within reports whether a byte lies in one of the ranges, which merged has made.
func within(pos int, ranges []hcl.Range) bool {
	i, found := slices.BinarySearchFunc(ranges, pos, func(r hcl.Range, pos int) int { return cmp.Compare(r.Start.Byte, pos) })
	return found || i > 0 && pos < ranges[i-1].End.Byte
}

// merged returns the ranges that are not empty, in order, those that overlap as one.
func merged(ranges []hcl.Range) []hcl.Range {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b hcl.Range) int { return cmp.Compare(a.Start.Byte, b.Start.Byte) })
	var out []hcl.Range
	for _, r := range ranges {
		switch {
		case r.Empty():
		case len(out) > 0 && r.Start.Byte <= out[len(out)-1].End.Byte:
			if last := &out[len(out)-1]; r.End.Byte > last.End.Byte {
				last.End = r.End
			}
		default:
			out = append(out, r)
		}
	}
	return out
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
