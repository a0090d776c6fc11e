package native

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// shape is how a type's column is laid out.
type shape uint8

const (
	shapeFixed shape = iota
	shapeString
	shapeNullable
	shapeArray
	shapeTuple
	shapeLowCardinality
	shapeVariant
	shapeDynamic     // becomes a variant once its prefix is read
	shapeFlatDynamic // the same in another layout
	shapeJSON        // becomes a tuple of its paths
	shapeState       // states of an aggregate function
)

// colType is a type reduced to what finding the end of its column takes.
type colType struct {
	shape shape
	width uint64 // bytes a row, of shapeFixed
	elems []*colType
	parts []statePart // of shapeState
}

var fixedWidths = map[string]uint64{
	"Int8": 1, "Int16": 2, "Int32": 4, "Int64": 8, "Int128": 16, "Int256": 32,
	"UInt8": 1, "UInt16": 2, "UInt32": 4, "UInt64": 8, "UInt128": 16, "UInt256": 32,
	"Float32": 4, "Float64": 8, "BFloat16": 2, "Bool": 1,
	"Date": 2, "Date32": 4, "DateTime": 4, "DateTime32": 4, "DateTime64": 8, "Time": 4, "Time64": 8,
	"Enum8": 1, "Enum16": 2, "UUID": 16, "IPv4": 4, "IPv6": 16,
	"Decimal32": 4, "Decimal64": 8, "Decimal128": 16, "Decimal256": 32,
	"Nothing": 1,
}

// aliases are types defined as others.
var aliases = map[string]string{
	"Point":           "Tuple(Float64, Float64)",
	"Ring":            "Array(Point)",
	"LineString":      "Array(Point)",
	"Polygon":         "Array(Ring)",
	"MultiLineString": "Array(LineString)",
	"MultiPolygon":    "Array(Polygon)",
}

const (
	maxTypeDepth = 64
	maxTypeElems = 4096
)

func parseType(s string) (*colType, error) { return parseTypeDepth(strings.TrimSpace(s), 0) }

func parseTypeDepth(s string, depth int) (*colType, error) {
	if depth > maxTypeDepth {
		return nil, malformed("type nested deeper than %d", maxTypeDepth)
	}
	name, args, err := splitType(s)
	if err != nil {
		return nil, err
	}
	sub := func(i int) (*colType, error) {
		if i >= len(args) {
			return nil, malformed("type %q lacks an argument", s)
		}
		return parseTypeDepth(args[i], depth+1)
	}
	one := func(sh shape) (*colType, error) {
		e, err := sub(0)
		if err != nil {
			return nil, err
		}
		return &colType{shape: sh, elems: []*colType{e}}, nil
	}
	if w, ok := fixedWidths[name]; ok {
		return &colType{width: w}, nil
	}
	if a, ok := aliases[name]; ok {
		return parseTypeDepth(a, depth+1)
	}
	switch name {
	case "String":
		return &colType{shape: shapeString}, nil
	case "FixedString":
		if len(args) == 1 {
			if n, err := strconv.ParseUint(args[0], 10, 31); err == nil && n > 0 {
				return &colType{width: n}, nil
			}
		}
		return nil, malformed("type %q has no length", s)
	case "Decimal":
		if len(args) > 0 {
			if p, err := strconv.Atoi(args[0]); err == nil {
				return decimalOf(p, s)
			}
		}
		return nil, malformed("type %q has no precision", s)
	case "Nullable":
		return one(shapeNullable)
	case "Array":
		return one(shapeArray)
	case "LowCardinality":
		e, err := sub(0)
		if err != nil {
			return nil, err
		}
		if e.shape == shapeNullable { // the dictionary holds the bare type
			e = e.elems[0]
		}
		return &colType{shape: shapeLowCardinality, elems: []*colType{e}}, nil
	case "SimpleAggregateFunction":
		if len(args) < 2 {
			return nil, malformed("type %q lacks an argument", s)
		}
		return sub(len(args) - 1)
	case "AggregateFunction":
		return stateType(args, s)
	case "Map":
		if len(args) != 2 {
			return nil, malformed("type %q needs two arguments", s)
		}
		t := &colType{shape: shapeTuple}
		for i := range args {
			e, err := sub(i)
			if err != nil {
				return nil, err
			}
			t.elems = append(t.elems, e)
		}
		return &colType{shape: shapeArray, elems: []*colType{t}}, nil
	case "Dynamic":
		return &colType{shape: shapeDynamic}, nil
	case "JSON":
		return jsonType(args, depth)
	case "QBit":
		return qbitType(args, s)
	case "Tuple", "Nested", "Variant":
		if len(args) == 0 && name == "Tuple" {
			return &colType{width: 1}, nil // an empty tuple is a byte
		}
		if len(args) == 0 {
			return nil, fmt.Errorf("column of type %s: %w", s, ErrUnsupported)
		}
		if len(args) > maxTypeElems {
			return nil, malformed("type with more than %d elements", maxTypeElems)
		}
		t := &colType{shape: shapeTuple}
		for i := range args {
			arg := args[i]
			if name != "Variant" {
				arg = dropElementName(arg)
			}
			e, err := parseTypeDepth(arg, depth+1)
			if err != nil {
				return nil, err
			}
			t.elems = append(t.elems, e)
		}
		switch name {
		case "Nested":
			return &colType{shape: shapeArray, elems: []*colType{t}}, nil
		case "Variant":
			t.shape = shapeVariant
		}
		return t, nil
	}
	if strings.HasPrefix(name, "Interval") && len(args) == 0 {
		return &colType{width: 8}, nil
	}
	return nil, fmt.Errorf("column of type %s: %w", s, ErrUnsupported)
}

// jsonType is a JSON's with the types of its typed paths, in the order of their names.
func jsonType(args []string, depth int) (*colType, error) {
	typed := map[string]string{}
	for _, arg := range args {
		if strings.HasPrefix(arg, "max_dynamic_paths") || strings.HasPrefix(arg, "max_dynamic_types") || strings.HasPrefix(arg, "SKIP ") {
			continue
		}
		typ := dropElementName(arg)
		typed[unquotePath(strings.TrimSpace(strings.TrimSuffix(arg, typ)))] = typ
	}
	if len(typed) > maxTypeElems {
		return nil, malformed("JSON with more than %d typed paths", maxTypeElems)
	}
	t := &colType{shape: shapeJSON}
	for _, path := range slices.Sorted(maps.Keys(typed)) {
		e, err := parseTypeDepth(typed[path], depth+1)
		if err != nil {
			return nil, err
		}
		t.elems = append(t.elems, e)
	}
	return t, nil
}

// unquotePath takes the backquotes off the parts of a path.
func unquotePath(s string) string { return strings.ReplaceAll(s, "`", "") }

// qbitType is a QBit's: its vectors lie transposed, a plane for each bit of an element, each with a bit for each element.
func qbitType(args []string, s string) (*colType, error) {
	bits := map[string]uint64{"BFloat16": 16, "Float32": 32, "Float64": 64}
	if len(args) != 2 || bits[args[0]] == 0 {
		return nil, malformed("type %q needs an element type and a dimension", s)
	}
	n, err := strconv.ParseUint(args[1], 10, 24)
	if err != nil || n == 0 {
		return nil, malformed("type %q has no dimension", s)
	}
	return &colType{width: bits[args[0]] * ((n + 7) / 8)}, nil
}

func decimalOf(precision int, s string) (*colType, error) {
	switch {
	case precision < 1 || precision > 76:
		return nil, malformed("type %q has no such precision", s)
	case precision <= 9:
		return &colType{width: 4}, nil
	case precision <= 18:
		return &colType{width: 8}, nil
	case precision <= 38:
		return &colType{width: 16}, nil
	}
	return &colType{width: 32}, nil
}

// splitType takes "Name(arg, arg)" apart at the top level.
func splitType(s string) (name string, args []string, err error) {
	open := strings.IndexByte(s, '(')
	if open < 0 {
		return s, nil, nil
	}
	if !strings.HasSuffix(s, ")") {
		return "", nil, malformed("type %q does not end its arguments", s)
	}
	name = strings.TrimSpace(s[:open])
	inside := s[open+1 : len(s)-1]
	depth, start := 0, 0
	for i := 0; i < len(inside); i++ {
		switch c := inside[i]; c {
		case '(':
			depth++
		case ')':
			depth--
			if depth < 0 {
				return "", nil, malformed("type %q closes what it did not open", s)
			}
		case '\'', '`', '"':
			for i++; i < len(inside) && inside[i] != c; i++ {
				if inside[i] == '\\' {
					i++
				}
			}
		case ',':
			if depth == 0 {
				args = append(args, strings.TrimSpace(inside[start:i]))
				start = i + 1
			}
		}
	}
	if depth != 0 {
		return "", nil, malformed("type %q does not close what it opened", s)
	}
	if last := strings.TrimSpace(inside[start:]); last != "" || len(args) > 0 {
		args = append(args, last)
	}
	return name, args, nil
}

// dropElementName turns a tuple's "price Decimal(18, 8)" into its type. A type
// has a blank only inside its parentheses, so one before them ends a name.
func dropElementName(s string) string {
	if s != "" && (s[0] == '`' || s[0] == '"') {
		for i := 1; i < len(s); i++ {
			if s[i] == '\\' {
				i++
				continue
			}
			if s[i] == s[0] {
				return strings.TrimSpace(s[i+1:])
			}
		}
		return s
	}
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(':
			return s
		case ' ':
			return strings.TrimSpace(s[i+1:])
		}
	}
	return s
}
