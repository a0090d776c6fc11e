package sqltext

import "strings"

// Kind routes a statement.
type Kind uint8

// The kinds of statement that are treated differently.
const (
	KindEmpty  Kind = iota // nothing but white space and comments
	KindQuery              // may return rows of any number: SELECT and what is not known
	KindInsert             // INSERT with its data beside it, in the text or behind it
	KindSet                // SET: changes the session
	KindUse                // USE: changes the session's database
	KindKill               // KILL QUERY
	KindOther              // DDL, SHOW, DESCRIBE, INSERT SELECT ...: short output or none
)

// Statement is one statement taken apart as far as routing needs.
type Statement struct {
	Kind  Kind
	Text  string // without the closing semicolon
	Multi bool   // more statements follow: refused, as a server does

	Format      string // the FORMAT clause's name, or empty
	Unformatted string // Text without the FORMAT clause
	Outfile     bool   // has INTO OUTFILE
	Temporary   bool   // names TEMPORARY near its start: changes the session

	Insert Insert // of KindInsert
	Kill   Kill   // of KindKill
}

// Kill is a KILL QUERY in its parts.
type Kill struct {
	Where      string // the condition
	Sync, Test bool
}

// Insert is an INSERT statement in its parts.
type Insert struct {
	Header  string // the statement without VALUES, FORMAT and data
	Target  string // table, or FUNCTION name(...)
	Columns string // inside of the column list, or empty
	Format  string // of the data: Values if not said
	Named   bool   // VALUES or FORMAT was written
	Data    int    // where inline data begins in the text given to Parse
}

// Parse takes sql apart. It does not fail; text that is no SQL is a KindQuery for
// the engine to refuse.
func Parse(sql string) Statement {
	s := scanner{text: sql}
	first := s.next()
	for s.isPunct(first, ';') {
		first = s.next()
	}
	if first.kind == tokenEnd {
		return Statement{Kind: KindEmpty}
	}
	if s.is(first, "INSERT") {
		if st, ok := parseInsert(&s, first.start); ok {
			return st
		}
	}
	return parsePlain(sql, first)
}

// otherWords begin statements whose output is short, if there is any.
var otherWords = []string{
	"INSERT", "CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", "EXCHANGE", "OPTIMIZE", "ATTACH", "DETACH",
	"DELETE", "UPDATE", "SHOW", "DESCRIBE", "DESC", "EXISTS", "CHECK", "EXPLAIN", "SYSTEM", "KILL", "GRANT",
	"REVOKE", "UNDROP", "BACKUP", "RESTORE", "MOVE", "WATCH", "BEGIN", "COMMIT", "ROLLBACK", "COPY",
}

func kindOf(s *scanner, first token) Kind {
	if first.kind != tokenWord {
		return KindQuery
	}
	word := strings.ToUpper(s.text[first.start:first.end])
	switch word {
	case "SET":
		return KindSet
	case "USE":
		return KindUse
	}
	for _, w := range otherWords {
		if w == word {
			return KindOther
		}
	}
	return KindQuery
}

func parsePlain(sql string, first token) Statement {
	s := scanner{text: sql, pos: first.end}
	st := Statement{Kind: kindOf(&s, first)}
	end := len(sql)
	depth, n := 0, 0
	formatStart, formatEnd := -1, -1
	for t := s.next(); ; t = s.next() {
		if t.kind == tokenEnd {
			break
		}
		n++
		if s.isPunct(t, ';') {
			end = t.start
			for s.isPunct(t, ';') {
				t = s.next()
			}
			st.Multi = t.kind != tokenEnd
			break
		}
		switch {
		case s.isPunct(t, '(') || s.isPunct(t, '['):
			depth++
		case s.isPunct(t, ')') || s.isPunct(t, ']'):
			depth--
		case n <= 4 && s.is(t, "TEMPORARY"):
			st.Temporary = true
		case depth == 0 && s.is(t, "OUTFILE"):
			st.Outfile = true
		case depth == 0 && s.is(t, "FORMAT"):
			at := s.pos
			name := s.next()
			after := s.next()
			if name.kind == tokenWord && (after.kind == tokenEnd || s.isPunct(after, ';') || s.is(after, "SETTINGS")) {
				formatStart, formatEnd = t.start, name.end
				st.Format = sql[name.start:name.end]
				s.pos = name.end
			} else {
				s.pos = at
			}
		}
	}
	st.Text = sql[first.start:end]
	st.Unformatted = st.Text
	if formatStart >= 0 {
		st.Unformatted = sql[first.start:formatStart] + sql[formatEnd:end]
	}
	if kill, ok := parseKill(st.Unformatted); ok {
		st.Kind, st.Kill = KindKill, kill
	}
	return st
}

// parseKill reads KILL QUERY WHERE condition [SYNC|ASYNC|TEST].
func parseKill(sql string) (Kill, bool) {
	s := scanner{text: sql}
	for _, word := range []string{"KILL", "QUERY", "WHERE"} {
		if !s.is(s.next(), word) {
			return Kill{}, false
		}
	}
	var k Kill
	start := s.pos
	end := start
	for t := s.next(); t.kind != tokenEnd; t = s.next() {
		at := s.pos
		last := s.next().kind == tokenEnd
		s.pos = at
		if last && (s.is(t, "SYNC") || s.is(t, "ASYNC") || s.is(t, "TEST")) {
			k.Sync, k.Test = s.is(t, "SYNC"), s.is(t, "TEST")
			break
		}
		end = t.end
	}
	k.Where = strings.TrimSpace(sql[start:end])
	return k, true
}

// parseInsert reads an INSERT whose data stands beside it; ok is false for INSERT
// SELECT and everything else that the engine runs by itself.
func parseInsert(s *scanner, start int) (Statement, bool) {
	t := s.next()
	if s.is(t, "INTO") {
		t = s.next()
	}
	if s.is(t, "TABLE") {
		t = s.next()
	}
	targetStart := t.start
	if s.is(t, "FUNCTION") {
		s.next() // its name
		if t = s.next(); s.isPunct(t, '(') {
			t = s.closeParen()
		}
	} else {
		if t.kind != tokenWord && t.kind != tokenQuoted && t.kind != tokenPunct && t.kind != tokenNumber {
			return Statement{}, false
		}
		for { // a name, or db.name, or {param:Identifier}
			if s.isPunct(t, '{') {
				for t.kind != tokenEnd && !s.isPunct(t, '}') {
					t = s.next()
				}
			}
			at := s.pos
			dot := s.next()
			if !s.isPunct(dot, '.') {
				s.pos = at
				break
			}
			t = s.next()
		}
	}
	in := Insert{Target: s.text[targetStart:t.end], Format: "Values"}
	headerEnd := t.end

	t = s.next()
	if s.isPunct(t, '(') {
		inside := s.pos
		at := s.pos
		if w := s.next(); s.is(w, "SELECT") || s.is(w, "WITH") || s.isPunct(w, '(') {
			return Statement{}, false
		}
		s.pos = at
		t = s.closeParen()
		if t.kind == tokenEnd {
			return Statement{}, false
		}
		in.Columns = strings.TrimSpace(s.text[inside:t.start])
		headerEnd = t.end
		t = s.next()
	}
	for ; ; t = s.next() {
		switch {
		case s.isPunct(t, '('):
			if t = s.closeParen(); t.kind == tokenEnd {
				return Statement{}, false
			}
		case s.is(t, "VALUES"):
			in.Named, in.Data = true, s.pos
			return finishInsert(s, start, headerEnd, in), true
		case s.is(t, "FORMAT"):
			name := s.next()
			if name.kind != tokenWord {
				return Statement{}, false
			}
			in.Named, in.Format, in.Data = true, s.text[name.start:name.end], name.end
			return finishInsert(s, start, headerEnd, in), true
		case t.kind == tokenEnd:
			in.Data = len(s.text)
			return finishInsert(s, start, headerEnd, in), true
		case s.isPunct(t, ';'):
			in.Data = t.start
			return finishInsert(s, start, headerEnd, in), true
		case s.is(t, "SELECT"), s.is(t, "WITH"), s.is(t, "FROM"), s.is(t, "WATCH"), s.is(t, "EXECUTE"):
			return Statement{}, false
		}
		headerEnd = t.end
	}
}

func finishInsert(s *scanner, start, headerEnd int, in Insert) Statement {
	in.Header = s.text[start:headerEnd]
	// Data begins after the blanks of the line that the header ends on.
	for in.Data < len(s.text) && s.text[in.Data] != '\n' && isSpace(s.text[in.Data]) {
		in.Data++
	}
	if in.Data < len(s.text) && s.text[in.Data] == '\n' {
		in.Data++
	}
	return Statement{Kind: KindInsert, Text: s.text[start:], Unformatted: s.text[start:], Format: "", Insert: in}
}

// closeParen passes everything up to the parenthesis that closes the one just
// read, and returns it, or the end.
func (s *scanner) closeParen() token {
	for depth := 1; ; {
		t := s.next()
		switch {
		case t.kind == tokenEnd:
			return t
		case s.isPunct(t, '('):
			depth++
		case s.isPunct(t, ')'):
			if depth--; depth == 0 {
				return t
			}
		}
	}
}

// InlineData is what of sql stands behind an INSERT's header, without a lone
// closing semicolon.
func (st Statement) InlineData(sql string) string {
	if st.Kind != KindInsert || st.Insert.Data >= len(sql) {
		return ""
	}
	data := sql[st.Insert.Data:]
	if strings.Trim(data, " \t\r\n;") == "" {
		return ""
	}
	return data
}

// Assignments reads the pairs of a SET statement: name to value as written.
func Assignments(sql string) map[string]string {
	s := scanner{text: sql}
	if t := s.next(); !s.is(t, "SET") {
		return nil
	}
	out := map[string]string{}
	for {
		name := s.next()
		if name.kind != tokenWord {
			return out
		}
		eq := s.next()
		if !s.isPunct(eq, '=') {
			// SET flag, other = 1: a bare name means 1.
			out[s.text[name.start:name.end]] = "1"
			if !s.isPunct(eq, ',') {
				return out
			}
			continue
		}
		start, end := -1, -1
		var t token
		for t = s.next(); t.kind != tokenEnd && !s.isPunct(t, ',') && !s.isPunct(t, ';'); t = s.next() {
			if start < 0 {
				start = t.start
			}
			end = t.end
			if s.isPunct(t, '(') || s.isPunct(t, '[') || s.isPunct(t, '{') {
				depth := 1
				for depth > 0 {
					if t = s.next(); t.kind == tokenEnd {
						return out
					}
					switch s.text[t.start] {
					case '(', '[', '{':
						depth++
					case ')', ']', '}':
						depth--
					}
				}
				end = t.end
			}
		}
		if start >= 0 {
			out[s.text[name.start:name.end]] = s.text[start:end]
		}
		if !s.isPunct(t, ',') {
			return out
		}
	}
}
