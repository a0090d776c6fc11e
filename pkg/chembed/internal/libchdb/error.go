package libchdb

import (
	"strconv"
	"strings"
)

// Error is an exception of the engine.
type Error struct {
	Code int    // ClickHouse's error code, such as 60; 1002 (unknown) when the text has none
	Name string // its name, such as UNKNOWN_TABLE; may be empty
	Text string // the message without code, name and version
}

// CodeUnknown is ClickHouse's UNKNOWN_EXCEPTION.
const CodeUnknown = 1002

func (e *Error) Error() string {
	s := "Code: " + strconv.Itoa(e.Code) + ". DB::Exception: " + e.Text
	if e.Name != "" {
		s += " (" + e.Name + ")"
	}
	return s
}

// parseError takes apart the engine's
// "Code: 60. DB::Exception: Unknown table 'x'. (UNKNOWN_TABLE) (version ...)".
func parseError(text string) *Error {
	e := &Error{Code: CodeUnknown, Text: strings.TrimSpace(text)}
	rest, ok := strings.CutPrefix(e.Text, "Code: ")
	if !ok {
		return e
	}
	digits, rest, ok := strings.Cut(rest, ". ")
	if !ok {
		return e
	}
	code, err := strconv.Atoi(digits)
	if err != nil {
		return e
	}
	e.Code = code
	// What the engine passes on from another place of itself has the beginning twice.
	for begin := "Code: " + digits + ". DB::Exception: "; ; {
		rest = strings.TrimSpace(strings.TrimPrefix(rest, "DB::Exception: "))
		again, ok := strings.CutPrefix(rest, begin)
		if !ok {
			break
		}
		rest = again
	}
	if i := strings.LastIndex(rest, " (version "); i >= 0 && strings.HasSuffix(rest, ")") {
		rest = strings.TrimSpace(rest[:i])
	}
	if i := strings.LastIndex(rest, "("); i > 0 && strings.HasSuffix(rest, ")") && isErrorName(rest[i+1:len(rest)-1]) {
		e.Name = rest[i+1 : len(rest)-1]
		rest = strings.TrimSpace(rest[:i])
	}
	e.Text = rest
	return e
}

func isErrorName(s string) bool {
	for _, c := range s {
		if c != '_' && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
