package bus

import (
	"fmt"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Prefix begins every subject; v1 is the version of the contract, so that two versions can run side by side.
const Prefix = "md.v1."

// Subject of an event: md.v1.<kind>.<tokens>, each token escaped.
func Subject(ev market.Event) string {
	kind, tokens := ev.Tokens()
	var b strings.Builder
	b.WriteString(Prefix)
	b.WriteString(kind)
	for _, t := range tokens {
		b.WriteByte('.')
		b.WriteString(EscapeToken(t))
	}
	return b.String()
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// EscapeToken makes one subject token of any text: what is not a letter, a digit, - or _ becomes %XX. BRK.B is BRK%2EB; the empty text
// is %.
func EscapeToken(s string) string {
	if s == "" {
		return "%"
	}
	n := 0
	for i := range len(s) {
		if !plain(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if plain(s[i]) {
			b = append(b, s[i])
		} else {
			b = fmt.Appendf(b, "%%%02X", s[i])
		}
	}
	return string(b)
}

// UnescapeToken is the inverse of EscapeToken.
func UnescapeToken(s string) (string, error) {
	if s == "%" {
		return "", nil
	}
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("unescape subject token %.64q: cut short", s)
		}
		hi, ok1 := unhex(s[i+1])
		lo, ok2 := unhex(s[i+2])
		if !ok1 || !ok2 {
			return "", fmt.Errorf("unescape subject token %.64q: %q is not hexadecimal", s, s[i+1:i+3])
		}
		b.WriteByte(hi<<4 | lo)
		i += 2
	}
	return b.String(), nil
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// StreamOf tells which stream a subject belongs to.
func StreamOf(subject string) (market.Stream, bool) {
	for _, d := range declared {
		for _, s := range d.subjects {
			if matches(s, subject) {
				return d.stream, true
			}
		}
	}
	return "", false
}

// Matches reports whether a subject lies under a filter with NATS's wildcards.
func Matches(filter, subject string) bool { return matches(filter, subject) }

// overlap reports whether some subject lies under both filters.
func overlap(a, b string) bool {
	at, bt := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; ; i++ {
		switch {
		case i == len(at) || i == len(bt):
			return len(at) == len(bt)
		case at[i] == ">" || bt[i] == ">":
			return true
		case at[i] != "*" && bt[i] != "*" && at[i] != bt[i]:
			return false
		}
	}
}

// matches applies NATS's wildcards: * is one token, > all the rest.
func matches(pattern, subject string) bool {
	pt, st := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, p := range pt {
		if p == ">" {
			return len(st) > i
		}
		if i >= len(st) || p != "*" && p != st[i] {
			return false
		}
	}
	return len(pt) == len(st)
}

// tokenFilter is the subject of a stream with these tokens behind the kind; * stays a wildcard.
func tokenFilter(stream market.Stream, tokens []string) string {
	var b strings.Builder
	for _, d := range declared {
		if d.stream == stream {
			b.WriteString(Prefix)
			b.WriteString(strings.Split(strings.TrimPrefix(d.subjects[0], Prefix), ".")[0])
		}
	}
	for _, t := range tokens {
		b.WriteByte('.')
		if t == "*" {
			b.WriteString(t)
		} else {
			b.WriteString(EscapeToken(t))
		}
	}
	return b.String()
}

// sourceFilter is the subject filter that selects a source in a stream, or all of the stream where subjects do not name the source.
func sourceFilter(stream market.Stream, source string) []string {
	src := EscapeToken(source)
	switch stream {
	case market.Trades:
		return []string{Prefix + "trade." + src + ".*"}
	case market.Quotes:
		return []string{Prefix + "quote." + src + ".*"}
	case market.Halts:
		return []string{Prefix + "halt." + src + ".*", Prefix + "imbalance." + src + ".*"}
	case market.Network:
		return []string{Prefix + "network.*." + src}
	case market.Feeds:
		return []string{Prefix + "feed." + src}
	}
	return nil
}
