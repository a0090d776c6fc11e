package alpaca

// parseJSON reads a whole JSON document.
func parseJSON(data []byte) (value, error) {
	v, rest, err := scanJSON(skipSpace(data), 0)
	if err != nil {
		return value{}, malformed("JSON: %w", err)
	}
	if len(skipSpace(rest)) > 0 {
		return value{}, malformed("JSON: bytes behind the end of the document")
	}
	return v, nil
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\n' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// scanJSON reads one value from the beginning of b (no space before it) and checks all of it, nested values included.
func scanJSON(b []byte, depth int) (v value, rest []byte, err error) {
	if len(b) == 0 {
		return value{}, nil, errTruncated
	}
	switch c := b[0]; {
	case c == '"':
		n, err := scanString(b)
		if err != nil {
			return value{}, nil, err
		}
		return value{kind: kString, raw: b[1 : n-1]}, b[n:], nil
	case c == '-' || c >= '0' && c <= '9':
		n := scanNumber(b)
		if n == 0 {
			return value{}, nil, malformed("number %.32q", b)
		}
		return value{kind: kNumber, raw: b[:n]}, b[n:], nil
	case c == '[' || c == '{':
		if depth == maxDepth {
			return value{}, nil, errDepth
		}
		k := kArray
		if c == '{' {
			k = kMap
		}
		rest := b
		if k == kArray {
			err = walkArray(b, depth, scanJSON, func(value, []byte) error { return nil }, &rest)
		} else {
			err = walkObject(b, depth, func([]byte, value) error { return nil }, &rest)
		}
		if err != nil {
			return value{}, nil, err
		}
		return value{kind: k, raw: b[:len(b)-len(rest)]}, rest, nil
	}
	for _, lit := range [...]struct {
		text string
		kind kind
	}{{"null", kNull}, {"true", kBool}, {"false", kBool}} {
		if len(b) >= len(lit.text) && string(b[:len(lit.text)]) == lit.text {
			return value{kind: lit.kind}, b[len(lit.text):], nil
		}
	}
	return value{}, nil, malformed("%.16q is no value", b)
}

// scanString returns the length of the string that b begins with, quotes included.
func scanString(b []byte) (int, error) {
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			i++ // what is escaped is checked when the text is asked for
		case c < 0x20:
			return 0, malformed("a control character in a string")
		}
	}
	return 0, errTruncated
}

// scanNumber returns the length of the number that b begins with; 0 where there is none by JSON's grammar.
func scanNumber(b []byte) int {
	i := 0
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if b[0] == '-' {
		i++
	}
	zero := i < len(b) && b[i] == '0'
	from := i
	if !digits() || zero && i-from > 1 {
		return 0
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return 0
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}

func jsonElements(b []byte, fn func(e value, raw []byte) error) error {
	var rest []byte
	return walkArray(b, 0, scanJSON, fn, &rest)
}

func jsonFields(b []byte, fn func(key []byte, f value) error) error {
	var rest []byte
	return walkObject(b, 0, fn, &rest)
}

// scanFunc reads one value, as scanJSON does.
type scanFunc func(b []byte, depth int) (v value, rest []byte, err error)

// walkArray reads the array that b begins with. Elements are handed out as they are read, before the end is known to be there.
func walkArray(b []byte, depth int, scan scanFunc, fn func(e value, raw []byte) error, rest *[]byte) error {
	b = skipSpace(b[1:])
	if len(b) > 0 && b[0] == ']' {
		*rest = b[1:]
		return nil
	}
	for {
		v, after, err := scan(b, depth+1)
		if err != nil {
			return err
		}
		if err := fn(v, b[:len(b)-len(after)]); err != nil {
			return err
		}
		b = skipSpace(after)
		if len(b) == 0 {
			return errTruncated
		}
		switch b[0] {
		case ']':
			*rest = b[1:]
			return nil
		case ',':
			b = skipSpace(b[1:])
		default:
			return malformed("%.16q where an array goes on or ends", b)
		}
	}
}

func walkObject(b []byte, depth int, fn func(key []byte, f value) error, rest *[]byte) error {
	b = skipSpace(b[1:])
	if len(b) > 0 && b[0] == '}' {
		*rest = b[1:]
		return nil
	}
	for {
		if len(b) == 0 {
			return errTruncated
		}
		if b[0] != '"' {
			return malformed("%.16q where a key should be", b)
		}
		n, err := scanString(b)
		if err != nil {
			return err
		}
		key := b[1 : n-1]
		b = skipSpace(b[n:])
		if len(b) == 0 {
			return errTruncated
		}
		if b[0] != ':' {
			return malformed("%.16q where a colon should be", b)
		}
		v, after, err := scanJSON(skipSpace(b[1:]), depth+1)
		if err != nil {
			return err
		}
		if err := fn(key, v); err != nil {
			return err
		}
		b = skipSpace(after)
		if len(b) == 0 {
			return errTruncated
		}
		switch b[0] {
		case '}':
			*rest = b[1:]
			return nil
		case ',':
			b = skipSpace(b[1:])
		default:
			return malformed("%.16q where an object goes on or ends", b)
		}
	}
}
