package store

import "strings"

// TypeParts takes Name(a, b(c, d)) apart into Name, a and b(c, d).
func TypeParts(typ string) (string, []string) {
	base, rest, found := strings.Cut(typ, "(")
	if !found {
		return typ, nil
	}
	rest = strings.TrimSuffix(rest, ")")
	var args []string
	depth, start, quoted := 0, 0, byte(0)
	for i := 0; i < len(rest); i++ {
		switch b := rest[i]; {
		case quoted != 0 && b == '\\':
			i++
		case quoted != 0:
			if b == quoted {
				quoted = 0
			}
		case b == '\'' || b == '`':
			quoted = b
		case b == '(':
			depth++
		case b == ')':
			depth--
		case b == ',' && depth == 0:
			args = append(args, strings.TrimSpace(rest[start:i]))
			start = i + 1
		}
	}
	return base, append(args, strings.TrimSpace(rest[start:]))
}

// TypeField takes the name off "name Type"; a name in backticks may have anything in it.
func TypeField(s string) (field, typ string) {
	if rest, quoted := strings.CutPrefix(s, "`"); quoted {
		for i := 0; i < len(rest); i++ {
			switch rest[i] {
			case '\\':
				i++
			case '`':
				return strings.NewReplacer("\\`", "`", `\\`, `\`).Replace(rest[:i]), strings.TrimSpace(rest[i+1:])
			}
		}
	}
	if field, typ, named := strings.Cut(s, " "); named && !strings.ContainsAny(field, "(,") {
		return field, typ
	}
	return "", s
}
