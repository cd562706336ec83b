package task

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth is how deep objects and lists may lie in each other, as for encoding/json.
const maxDepth = 10000

// objectEnd returns the length of the JSON object that b begins with; 0 if it does not begin
// with a valid one. What is valid is so by the rules of encoding/json. Parameters can be
// large, and are checked on the way of every task through a host: it goes through them once,
// and through long strings eight bytes at a time.
func objectEnd(b []byte) int {
	if len(b) == 0 || b[0] != '{' {
		return 0
	}
	var room [32]byte
	open := room[:0] // the brackets that are open
	i := 0
	for {
		// A value begins at i.
		if i >= len(b) {
			return 0
		}
		switch c := b[i]; c {
		case '{', '[':
			if len(open) == maxDepth {
				return 0
			}
			open = append(open, c)
			i = space(b, i+1)
			if i < len(b) && b[i] == c+2 { // '}' and ']' stand two after their likes
				break // it is empty: it ends below
			}
			if c == '{' {
				if i = name(b, i); i == 0 {
					return 0
				}
			}
			continue
		case '"':
			i = quoted(b, i)
		case 't':
			i = literal(b, i, "true")
		case 'f':
			i = literal(b, i, "false")
		case 'n':
			i = literal(b, i, "null")
		default:
			i = numeral(b, i)
		}
		if i == 0 {
			return 0
		}
		// What follows a value: the ends of what it lies in, then a comma.
		for {
			i = space(b, i)
			if i >= len(b) {
				return 0
			}
			last := open[len(open)-1]
			if b[i] != last+2 {
				if b[i] != ',' {
					return 0
				}
				i = space(b, i+1)
				if last == '{' {
					if i = name(b, i); i == 0 {
						return 0
					}
				}
				break
			}
			i++
			if open = open[:len(open)-1]; len(open) == 0 {
				return i
			}
		}
	}
}

// The functions that follow return where what begins at i ends, 0 if it is not valid.

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// name is the name of a member, its colon, and the space before the value.
func name(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return 0
	}
	if i = quoted(b, i); i == 0 {
		return 0
	}
	i = space(b, i)
	if i >= len(b) || b[i] != ':' {
		return 0
	}
	return space(b, i+1)
}

func literal(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return 0
	}
	return i + len(word)
}

func quoted(b []byte, i int) int {
	for i++; ; {
		i += plain(b[i:])
		if i >= len(b) || b[i] < ' ' {
			return 0
		}
		if b[i] == '"' {
			return i + 1
		}
		// A backslash.
		if i+1 >= len(b) {
			return 0
		}
		switch b[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if len(b)-i < 6 {
				return 0
			}
			for _, c := range b[i+2 : i+6] {
				if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
					return 0
				}
			}
			i += 6
		default:
			return 0
		}
	}
}

// plain counts the bytes before the first quote, backslash or control character.
func plain(b []byte) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	zero := func(x uint64) uint64 { return (x - ones) &^ x & tops } // marks the lowest byte that is 0
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		control := (x - ones*' ') &^ x & tops // marks the lowest byte that is less than a space
		if found := control | zero(x^ones*'"') | zero(x^ones*'\\'); found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for n < len(b) && b[n] >= ' ' && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

func numeral(b []byte, i int) int {
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return 0
	}
	if i < len(b) && b[i] == '.' {
		if i++; !digits() {
			return 0
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}
