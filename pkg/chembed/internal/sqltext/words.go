package sqltext

import (
	"strconv"
	"strings"
)

// Word is an identifier of a text, with what stands around it.
type Word struct {
	Text   string // without quotes
	Quoted bool
	Start  int
	End    int
	Dotted bool   // a dot follows: it names a database, a table or an alias
	Behind bool   // a dot stands before it
	Called bool   // a parenthesis follows: it names a function
	Before string // the token before it, in capitals
}

// Words lists the identifiers and keywords of a text.
func Words(sql string) []Word {
	s := scanner{text: sql}
	var out []Word
	before, dot := "", false
	for t := s.next(); t.kind != tokenEnd; t = s.next() {
		text := sql[t.start:t.end]
		if t.kind == tokenWord || t.kind == tokenQuoted {
			w := Word{Text: text, Start: t.start, End: t.end, Before: before, Behind: dot}
			if t.kind == tokenQuoted {
				w.Text, w.Quoted = unquoteName(text), true
			}
			at := s.pos
			next := s.next()
			s.pos = at
			w.Dotted, w.Called = s.isPunct(next, '.'), s.isPunct(next, '(')
			out = append(out, w)
		}
		before, dot = strings.ToUpper(text), s.isPunct(t, '.')
	}
	return out
}

// Is compares an unquoted word with a keyword.
func (w Word) Is(keyword string) bool { return !w.Quoted && strings.EqualFold(w.Text, keyword) }

// unquoteName takes the quotes and escapes off `name` or "name".
func unquoteName(s string) string {
	if len(s) < 2 {
		return s
	}
	return unescape(strings.TrimSuffix(s[1:], s[:1]), s[0])
}

// unescape reads what stands between quotes as the engine does.
func unescape(in string, quote byte) string {
	var b strings.Builder
	for i := 0; i < len(in); i++ {
		if c := in[i]; i+1 == len(in) || c != '\\' && c != quote {
			b.WriteByte(c)
			continue
		} else if i++; c == quote {
			b.WriteByte(in[i])
			continue
		}
		if in[i] == 'x' && i+2 < len(in) {
			if v, err := strconv.ParseUint(in[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		b.WriteByte(escaped(in[i]))
	}
	return b.String()
}

// escaped is the character behind a backslash.
func escaped(c byte) byte {
	switch c {
	case 'a':
		return '\a'
	case 'b':
		return '\b'
	case 'e':
		return 0x1b
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'v':
		return '\v'
	case '0':
		return 0
	}
	return c
}

// Settings reads the pairs of every SETTINGS clause and SET statement of a text, values as written. It takes more for a clause than is one, never less:
// wherever the word stands before a name and an equals sign.
func Settings(sql string) map[string]string {
	s := scanner{text: sql}
	out := map[string]string{}
	for t := s.next(); t.kind != tokenEnd; t = s.next() {
		if !s.is(t, "SETTINGS") && !s.is(t, "SET") {
			continue
		}
		for {
			at := s.pos
			name := s.next()
			eq := s.next()
			if name.kind != tokenWord && name.kind != tokenQuoted || !s.isPunct(eq, '=') {
				s.pos = at
				break
			}
			key := sql[name.start:name.end]
			if name.kind == tokenQuoted {
				key = unquoteName(key)
			}
			var last token
			out[key], last = s.value()
			if !s.isPunct(last, ',') {
				s.pos = last.start
				break
			}
		}
	}
	return out
}

// value reads a setting's value up to what ends it, which it returns as well.
func (s *scanner) value() (string, token) {
	start, end, depth := -1, -1, 0
	for {
		t := s.next()
		switch {
		case t.kind == tokenEnd, depth == 0 && (s.isPunct(t, ',') || s.isPunct(t, ')') || s.isPunct(t, ';')):
			if start < 0 {
				return "", t
			}
			return s.text[start:end], t
		case depth == 0 && start >= 0 && t.kind == tokenWord:
			return s.text[start:end], t // FORMAT or what follows the clause
		case s.isPunct(t, '(') || s.isPunct(t, '[') || s.isPunct(t, '{'):
			depth++
		case s.isPunct(t, ')') || s.isPunct(t, ']') || s.isPunct(t, '}'):
			depth--
		}
		if start < 0 {
			start = t.start
		}
		end = t.end
	}
}

// Unquote reads a string literal; other text is returned as it is.
func Unquote(v string) string {
	if len(v) < 2 || v[0] != '\'' || v[len(v)-1] != '\'' {
		return v
	}
	return unescape(v[1:len(v)-1], '\'')
}

// SplitList takes a list apart at its commas, but for those within parentheses and quotes.
func SplitList(list string) []string {
	s := scanner{text: list}
	var out []string
	start, depth := 0, 0
	for t := s.next(); t.kind != tokenEnd; t = s.next() {
		switch {
		case s.isPunct(t, '('):
			depth++
		case s.isPunct(t, ')'):
			depth--
		case s.isPunct(t, ',') && depth == 0:
			out = append(out, strings.TrimSpace(list[start:t.start]))
			start = t.end
		}
	}
	if last := strings.TrimSpace(list[start:]); last != "" {
		out = append(out, last)
	}
	return out
}

// CutName takes "name Type" apart.
func CutName(s string) (name, rest string, ok bool) {
	sc := scanner{text: s}
	t := sc.next()
	if t.kind != tokenWord && t.kind != tokenQuoted {
		return "", "", false
	}
	name, rest = s[t.start:t.end], strings.TrimSpace(s[t.end:])
	if t.kind == tokenQuoted {
		name = unquoteName(name)
	}
	return name, rest, rest != ""
}

// HasTotals says whether a text has WITH TOTALS somewhere.
func HasTotals(sql string) bool {
	for _, w := range Words(sql) {
		if w.Is("TOTALS") && w.Before == "WITH" {
			return true
		}
	}
	return false
}
