// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// header is bpf/event.h and bpf/snapshot.h, read as text: what the kernel side was compiled from.
type header struct {
	enums   map[string]map[string]uint64 // by enum, by name
	structs map[string]layout
	sizes   map[string]int // what its static asserts say
}

// layout is where each field lies.
type layout struct {
	size, align int
	fields      map[string]field
}

type field struct{ offset, size int }

var (
	comment  = regexp.MustCompile(`(?s)/\*.*?\*/`)
	enum     = regexp.MustCompile(`(?s)enum (\w+) \{(.*?)\};`)
	asserted = regexp.MustCompile(`_Static_assert\(sizeof\(struct (\w+)\) == (\d+)`)
	lines    = regexp.MustCompile(`\s+`)
	token    = regexp.MustCompile(`struct|union|\{|\}|;|\w+(?:\[\d+\])?`)
)

func readHeader(t *testing.T) header {
	t.Helper()
	var plain string
	for _, name := range []string{"event.h", "snapshot.h"} {
		text, err := os.ReadFile("../bpf/" + name)
		if err != nil {
			t.Fatal(err)
		}
		plain += comment.ReplaceAllString(string(text), "")
	}
	h := header{enums: map[string]map[string]uint64{}, structs: map[string]layout{}, sizes: map[string]int{}}
	for _, m := range enum.FindAllStringSubmatch(plain, -1) {
		h.enums[m[1]] = enumerators(t, m[2])
	}
	for _, m := range asserted.FindAllStringSubmatch(plain, -1) {
		h.sizes[m[1]], _ = strconv.Atoi(m[2])
	}
	for _, def := range strings.Split(plain, "\nstruct ")[1:] {
		name, body, _ := strings.Cut(def, " {")
		p := parser{t: t, tokens: token.FindAllString(body, -1), structs: h.structs}
		h.structs[name] = p.members(false)
	}
	return h
}

// enumerators gives each name its value: one more than the one before, or 1 << n, or n.
func enumerators(t *testing.T, body string) map[string]uint64 {
	t.Helper()
	values := map[string]uint64{}
	next := uint64(0)
	for _, item := range strings.Split(body, ",") {
		item = strings.TrimSpace(lines.ReplaceAllString(item, " "))
		if item == "" {
			continue
		}
		name, value, explicit := strings.Cut(item, " = ")
		if explicit {
			one, shift, shifted := strings.Cut(value, " << ")
			n, err := strconv.ParseUint(one, 10, 64)
			if err != nil {
				t.Fatalf("enumerator %q: %v", item, err)
			}
			if shifted {
				by, err := strconv.Atoi(shift)
				if err != nil {
					t.Fatalf("enumerator %q: %v", item, err)
				}
				n <<= by
			}
			next = n
		}
		values[name] = next
		next++
	}
	return values
}

// parser lays out the members of a struct or union by the rules of C on 64-bit machines.
type parser struct {
	t       *testing.T
	tokens  []string
	structs map[string]layout
}

func (p *parser) next() string {
	if len(p.tokens) == 0 {
		p.t.Fatal("event.h: a struct does not end")
	}
	s := p.tokens[0]
	p.tokens = p.tokens[1:]
	return s
}

var scalars = map[string]int{"__u8": 1, "__u16": 2, "__u32": 4, "__u64": 8}

// members reads up to and including the closing brace.
func (p *parser) members(union bool) layout {
	l := layout{align: 1, fields: map[string]field{}}
	end := 0
	place := func(inner layout, name string, size int) {
		at := 0
		if !union {
			at = (end + inner.align - 1) / inner.align * inner.align
		}
		if name != "" {
			l.fields[name] = field{at, size}
		}
		for n, f := range inner.fields {
			if name == "" {
				l.fields[n] = field{at + f.offset, f.size}
			}
		}
		l.align = max(l.align, inner.align)
		end = max(end, at+size)
	}
	for {
		switch word := p.next(); word {
		case "}":
			l.size = (end + l.align - 1) / l.align * l.align
			return l
		case "struct", "union":
			kind := p.next()
			if kind == "{" { // without a name: its fields are ours
				inner := p.members(word == "union")
				place(inner, "", inner.size)
			} else {
				place(p.structs[kind], p.next(), p.structs[kind].size)
			}
			p.next() // ;
		default:
			width, ok := scalars[word]
			if !ok {
				p.t.Fatalf("event.h: a field of type %q", word)
			}
			name, array, isArray := strings.Cut(p.next(), "[")
			size := width
			if isArray {
				n, err := strconv.Atoi(strings.TrimSuffix(array, "]"))
				if err != nil {
					p.t.Fatal(err)
				}
				size *= n
			}
			place(layout{align: width}, name, size)
			p.next() // ;
		}
	}
}

// enumNames puts an enum into the order of its values, from 0 or 1 on, with nothing missing.
func (h *header) enumNames(t *testing.T, enum string) map[uint64]string {
	t.Helper()
	names := map[uint64]string{}
	for name, n := range h.enums[enum] {
		if other, ok := names[n]; ok {
			t.Errorf("enum %s: %s and %s are both %d", enum, name, other, n)
		}
		names[n] = name
	}
	if len(names) == 0 {
		t.Fatalf("enum %s is not in event.h", enum)
	}
	return names
}

func TestHeaderParser(t *testing.T) {
	p := parser{t: t, tokens: token.FindAllString("__u8 a; __u32 b; union { struct { __u16 c; __u8 d[3]; }; __u64 e; }; struct in f; __u8 g[2]; };", -1), structs: map[string]layout{"in": {size: 8, align: 4}}}
	got := fmt.Sprint(p.members(false))
	want := fmt.Sprint(layout{size: 32, align: 8, fields: map[string]field{
		"a": {0, 1}, "b": {4, 4}, "c": {8, 2}, "d": {10, 3}, "e": {8, 8}, "f": {16, 8}, "g": {24, 2},
	}})
	if got != want {
		t.Errorf("layout = %s, want %s", got, want)
	}
}
