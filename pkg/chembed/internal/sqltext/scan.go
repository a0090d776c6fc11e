// Package sqltext reads just enough of ClickHouse's SQL to route a statement:
// what kind it is, where its FORMAT clause is, where an INSERT's data begins. The
// engine's own parser judges everything else.
package sqltext

import "strings"

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenQuoted // `a` or "a"
	tokenString
	tokenNumber
	tokenPunct
)

type token struct {
	kind       tokenKind
	start, end int
}

// scanner walks the tokens of a text, skipping white space and comments. It never
// fails: an unclosed string or comment ends with the text.
type scanner struct {
	text string
	pos  int
}

func (s *scanner) next() token {
	s.skipSpace()
	start := s.pos
	if start >= len(s.text) {
		return token{tokenEnd, start, start}
	}
	c := s.text[start]
	switch {
	case c == '\'':
		s.quoted('\'')
		return token{tokenString, start, s.pos}
	case c == '`' || c == '"':
		s.quoted(c)
		return token{tokenQuoted, start, s.pos}
	case isDigit(c):
		for s.pos < len(s.text) && (isWord(s.text[s.pos]) || s.text[s.pos] == '.') {
			s.pos++
		}
		return token{tokenNumber, start, s.pos}
	case c == '$':
		if s.heredoc() {
			return token{tokenString, start, s.pos}
		}
		s.word()
		return token{tokenWord, start, s.pos}
	case isWord(c):
		s.word()
		return token{tokenWord, start, s.pos}
	}
	s.pos++
	return token{tokenPunct, start, s.pos}
}

func (s *scanner) word() {
	for s.pos < len(s.text) && (isWord(s.text[s.pos]) || s.text[s.pos] == '$') {
		s.pos++
	}
}

func (s *scanner) skipSpace() {
	for s.pos < len(s.text) {
		rest := s.text[s.pos:]
		switch {
		case isSpace(rest[0]):
			s.pos++
		case strings.HasPrefix(rest, "\u00a0"): // no-break space, pasted from web pages
			s.pos += len("\u00a0")
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "#!"), strings.HasPrefix(rest, "# "):
			i := strings.IndexByte(rest, '\n')
			if i < 0 {
				i = len(rest) - 1
			}
			s.pos += i + 1
		case strings.HasPrefix(rest, "/*"):
			i := strings.Index(rest[2:], "*/")
			if i < 0 {
				s.pos = len(s.text)
				return
			}
			s.pos += i + 4
		default:
			return
		}
	}
}

// quoted passes a literal with backslash escapes and doubled quotes.
func (s *scanner) quoted(quote byte) {
	s.pos++
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case '\\':
			s.pos++
		case quote:
			if s.pos+1 >= len(s.text) || s.text[s.pos+1] != quote {
				s.pos++
				return
			}
			s.pos++
		}
		s.pos++
	}
	s.pos = len(s.text)
}

// heredoc passes $tag$ ... $tag$.
func (s *scanner) heredoc() bool {
	rest := s.text[s.pos:]
	i := strings.IndexByte(rest[1:], '$')
	if i < 0 {
		return false
	}
	tag := rest[:i+2]
	for j := 1; j < len(tag)-1; j++ {
		if !isWord(tag[j]) {
			return false
		}
	}
	end := strings.Index(rest[len(tag):], tag)
	if end < 0 {
		return false
	}
	s.pos += len(tag) + end + len(tag)
	return true
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWord(c byte) bool {
	return c == '_' || isDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
}

func (s *scanner) is(t token, word string) bool {
	return t.kind == tokenWord && strings.EqualFold(s.text[t.start:t.end], word)
}

func (s *scanner) isPunct(t token, c byte) bool {
	return t.kind == tokenPunct && s.text[t.start] == c
}

// Quote makes a string literal.
func Quote(v string) string {
	var b strings.Builder
	b.Grow(len(v) + 2)
	b.WriteByte('\'')
	for i := 0; i < len(v); i++ {
		switch c := v[i]; c {
		case '\\', '\'':
			b.WriteByte('\\')
			b.WriteByte(c)
		case 0:
			b.WriteString(`\0`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// QuoteName makes an identifier.
func QuoteName(v string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`", "\x00", `\0`).Replace(v) + "`"
}
