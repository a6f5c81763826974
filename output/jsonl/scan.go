// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"net/netip"
	"unsafe"
)

// scan walks over one line of JSON. The first thing that is wrong sets bad, and from
// then on everything comes back empty: callers look once, at the end.
type scan struct {
	b   []byte
	i   int
	bad string // what was expected at i
}

// maxDepth bounds values that nobody asked for: hostile lines nest without end.
const maxDepth = 64

func (s *scan) fail(want string) {
	if s.bad == "" {
		s.bad = want
	}
	s.b = s.b[:0]
	s.i = 0
}

// peek returns the next byte that is not white space; 0 at the end.
func (s *scan) peek() byte {
	for s.i < len(s.b) {
		c := s.b[s.i]
		if c > ' ' {
			return c
		}
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return 0
		}
		s.i++
	}
	return 0
}

func (s *scan) open(c byte) {
	if s.peek() != c {
		s.fail("'" + string(rune(c)) + "'")
		return
	}
	s.i++
}

// more reports whether another key follows in an object, and returns it; the value is
// next. It steps over the comma, or over the closing brace.
func (s *scan) more() (key []byte, ok bool) {
	first := s.i > 0 && s.b[s.i-1] == '{'
	c := s.peek()
	if c == '}' {
		s.i++
		return nil, false
	}
	if !first {
		s.open(',')
		c = s.peek()
	}
	if c != '"' {
		s.fail("a key")
		return nil, false
	}
	s.i++
	// A key has no escapes in it that matter: one with any is not ours.
	for j := s.i; j < len(s.b); j++ {
		switch s.b[j] {
		case '"':
			key = s.b[s.i:j]
			s.i = j + 1
			if s.i < len(s.b) && s.b[s.i] == ':' {
				s.i++
				return key, true
			}
			s.open(':')
			return key, s.bad == ""
		case '\\':
			j++
		}
	}
	s.fail("the end of a key")
	return nil, false
}

// text returns what is between the quotes, and whether there are escapes in it.
func (s *scan) text() (raw []byte, escaped bool) {
	if s.peek() != '"' {
		s.fail("a string")
		return nil, false
	}
	s.i++
	for j := s.i; j < len(s.b); j++ {
		switch c := s.b[j]; {
		case c == '"':
			raw = s.b[s.i:j]
			s.i = j + 1
			return raw, escaped
		case c == '\\':
			escaped = true
			j++
		case c < ' ':
			s.fail("a string without control characters")
			return nil, false
		}
	}
	s.fail("the end of a string")
	return nil, false
}

// name is a string of letters; the result is valid as long as the line is.
func (s *scan) name() string {
	raw, _ := s.text()
	return view(raw)
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (s *scan) uint(max uint64) uint64 {
	s.peek()
	const short = 19 // digits that always fit
	var n uint64
	b, j := s.b, s.i
	for ; j < len(b) && b[j]-'0' <= 9 && j < s.i+short; j++ {
		n = n*10 + uint64(b[j]-'0')
	}
	for ; j < len(b) && b[j]-'0' <= 9; j++ {
		d := uint64(b[j] - '0')
		if n > (1<<64-1)/10 || n == (1<<64-1)/10 && d > (1<<64-1)%10 {
			s.fail("a smaller number")
			return 0
		}
		n = n*10 + d
	}
	if j == s.i || n > max || j < len(b) && (b[j] == '.' || b[j] == 'e' || b[j] == 'E') {
		s.fail("an integer in range")
		return 0
	}
	s.i = j
	return n
}

func (s *scan) int() int64 {
	if s.peek() == '-' {
		s.i++
		return -int64(s.uint(1<<63 - 1))
	}
	return int64(s.uint(1<<63 - 1))
}

// id is a 64-bit number in quotes.
func (s *scan) id() uint64 {
	if s.peek() != '"' {
		s.fail("a number in quotes")
		return 0
	}
	s.i++
	n := s.uint(1<<64 - 1)
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		s.fail("a number in quotes")
		return 0
	}
	s.i++
	return n
}

func (s *scan) word(w string) bool {
	if len(s.b)-s.i >= len(w) && string(s.b[s.i:s.i+len(w)]) == w {
		s.i += len(w)
		return true
	}
	return false
}

func (s *scan) bool() bool {
	s.peek()
	if s.word("true") {
		return true
	}
	if !s.word("false") {
		s.fail("true or false")
	}
	return false
}

// skip steps over a value of any kind.
func (s *scan) skip(depth int) {
	if depth > maxDepth {
		s.fail("less nesting")
		return
	}
	switch c := s.peek(); {
	case c == '"':
		s.text()
	case c == '{':
		s.i++
		for {
			if _, ok := s.more(); !ok {
				return
			}
			s.skip(depth + 1)
		}
	case c == '[':
		s.i++
		for first := true; s.bad == ""; first = false {
			if s.peek() == ']' {
				s.i++
				return
			}
			if !first {
				s.open(',')
			}
			s.skip(depth + 1)
		}
	case c == '-' || c >= '0' && c <= '9':
		for s.i < len(s.b) && (s.b[s.i] >= '0' && s.b[s.i] <= '9' || s.b[s.i] == '-' || s.b[s.i] == '+' || s.b[s.i] == '.' || s.b[s.i] == 'e' || s.b[s.i] == 'E') {
			s.i++
		}
	case s.word("true"), s.word("false"), s.word("null"):
	default:
		s.fail("a value")
	}
}

// endpoint is an address and a port.
func (s *scan) endpoint() netip.AddrPort {
	var a netip.Addr
	var port uint64
	s.open('{')
	for {
		key, ok := s.more()
		if !ok {
			if !a.IsValid() {
				s.fail("an address")
			}
			return netip.AddrPortFrom(a, uint16(port))
		}
		switch string(key) {
		case "address":
			raw, _ := s.text()
			if a, ok = parseIPv4(view(raw)); !ok {
				var err error
				if a, err = netip.ParseAddr(view(raw)); err != nil || a.Zone() != "" {
					s.fail("an address")
				}
			}
		case "port":
			port = s.uint(1<<16 - 1)
		default:
			s.skip(0)
		}
	}
}
