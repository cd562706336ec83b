package sdk

import (
	"bytes"
	"encoding/json"
	"iter"
	"unicode/utf8"
)

// The functions of this file take JSON apart that json.Valid has found good, without looking
// into the parts. encoding/json would check, copy and put into a map at every level anew.

// members yields the names, still quoted, and the values of an object, in the order of the text.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := next(object, 1); object[i] != '}'; {
			colon := valueEnd(object, i)
			name := object[i:colon]
			i = next(object, next(object, colon)+1)
			end := valueEnd(object, i)
			if !yield(name, object[i:end]) {
				return
			}
			i = afterComma(object, end)
		}
	}
}

// elements yields the elements of an array.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := next(array, 1); array[i] != ']'; {
			end := valueEnd(array, i)
			if !yield(array[i:end]) {
				return
			}
			i = afterComma(array, end)
		}
	}
}

// next returns where, from i on, something other than space is.
func next(text []byte, i int) int {
	for text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r' {
		i++
	}
	return i
}

// afterComma returns where the next part begins, or where the end of all is, after a part that
// ends at i.
func afterComma(text []byte, i int) int {
	if i = next(text, i); text[i] == ',' {
		i = next(text, i+1)
	}
	return i
}

// valueEnd returns where the value that begins at i ends.
func valueEnd(text []byte, i int) int {
	depth := 0
	for {
		switch text[i] {
		case '"':
			if i = stringEnd(text, i); depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		default:
			if depth == 0 {
				return literalEnd(text, i)
			}
		}
		i++
	}
}

func stringEnd(text []byte, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func literalEnd(text []byte, i int) int {
	if end := bytes.IndexAny(text[i:], ",]} \n\t\r"); end >= 0 {
		return i + end
	}
	return len(text)
}

// unquote returns the string that raw is the JSON of.
func unquote(raw []byte) string {
	if plain(raw) {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	_ = json.Unmarshal(raw, &s) // it has been checked with all the rest
	return s
}

// spells reports whether raw is the JSON of the string s.
func spells(raw []byte, s string) bool {
	if plain(raw) {
		return string(raw[1:len(raw)-1]) == s
	}
	return unquote(raw) == s
}

// plain reports whether what stands between the quotes is the string itself.
func plain(raw []byte) bool { return bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) }
