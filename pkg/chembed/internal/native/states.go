package native

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrUnsupported marks a column type whose bytes cannot be walked, such as the states of an aggregate function that is not known here.
var ErrUnsupported = errors.New("type is not supported over the native protocol")

// The states of aggregate functions lie behind each other, without their lengths: where one ends only its function tells. These are the functions whose states are
// known; each is a list of parts.

type partKind uint8

const (
	partFixed     partKind = iota // width bytes
	partNumber                    // a varint
	partText                      // its length as a varint, and the text
	partSized                     // its length in four bytes, -1 for none, and the text
	partIf                        // a byte, and if it is not zero the parts
	partMany                      // a count as a varint, and the parts as often
	partReservoir                 // the sample of quantile: values of width bytes
)

type statePart struct {
	kind  partKind
	width uint64
	parts []statePart
}

func fixed(width uint64) statePart        { return statePart{kind: partFixed, width: width} }
func ifSet(parts ...statePart) statePart  { return statePart{kind: partIf, parts: parts} }
func manyOf(parts ...statePart) statePart { return statePart{kind: partMany, parts: parts} }
func stateOf(parts ...statePart) *colType { return &colType{shape: shapeState, parts: parts} }
func unknownState(s string) (*colType, error) {
	return nil, fmt.Errorf("column of type %s: %w", s, ErrUnsupported)
}

// stateType is that of AggregateFunction(name(parameters), types of the arguments).
func stateType(args []string, s string) (*colType, error) {
	if len(args) == 0 {
		return nil, malformed("type %q names no function", s)
	}
	name, params, err := splitType(args[0])
	if err != nil {
		return nil, err
	}
	parts := functionState(name, params, args[1:])
	if parts == nil {
		return unknownState(s)
	}
	return stateOf(parts...), nil
}

// functionState are the parts of a function's state; nil if they are not known.
func functionState(name string, params, args []string) []statePart {
	for _, suffix := range []string{"OrNull", "OrDefault"} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			parts := functionState(base, params, args)
			if parts == nil {
				return nil
			}
			return append(parts, fixed(1)) // whether there was a value
		}
	}
	if base, ok := strings.CutSuffix(name, "If"); ok {
		if len(args) == 0 || strings.HasPrefix(args[len(args)-1], "Nullable(") {
			return nil
		}
		return functionState(base, params, args[:len(args)-1])
	}
	types := make([]argType, len(args))
	nullable := false
	for i, a := range args {
		t, ok := argTypeOf(a)
		if !ok {
			return nil
		}
		types[i] = t
		nullable = nullable || t.nullable
	}
	parts := plainState(name, params, types)
	switch {
	case parts == nil || !nullable || slices.Contains(nullIsNone, name):
		return parts
	case len(types) > 1:
		return nil
	}
	return []statePart{ifSet(parts...)}
}

// nullIsNone are the functions that pass NULLs over by themselves; the states of others begin with whether there was something else.
var nullIsNone = []string{"count", "groupArray", "groupUniqArray"}

// argType is the type of an argument as far as states depend on it.
type argType struct {
	name     string // without parameters
	width    uint64 // of fixed ones
	nullable bool
}

func argTypeOf(s string) (argType, bool) {
	t := argType{}
	for {
		name, args, err := splitType(strings.TrimSpace(s))
		if err != nil {
			return t, false
		}
		if (name == "LowCardinality" || name == "Nullable") && len(args) == 1 {
			t.nullable = t.nullable || name == "Nullable"
			s = args[0]
			continue
		}
		t.name = name
		c, err := parseType(s)
		if err != nil || c.shape != shapeFixed && c.shape != shapeString {
			return t, false
		}
		if c.shape == shapeFixed {
			t.width = c.width
		}
		return t, name == "String" || simple[name]
	}
}

// simple are the types that aggregate functions hold as plain numbers of their width.
var simple = map[string]bool{
	"Int8": true, "Int16": true, "Int32": true, "Int64": true, "UInt8": true, "UInt16": true, "UInt32": true, "UInt64": true, "Float32": true, "Float64": true,
	"Bool": true, "Date": true, "DateTime": true, "DateTime64": true, "Decimal": true,
}

func (t argType) float() bool { return t.name == "Float32" || t.name == "Float64" }
func (t argType) integer() bool {
	return strings.HasPrefix(t.name, "Int") || strings.HasPrefix(t.name, "UInt") || t.name == "Bool"
}

// value is one value of the type, or none, as min, max and any hold it.
func (t argType) value() []statePart {
	if t.name == "String" {
		return []statePart{{kind: partSized}}
	}
	return []statePart{ifSet(fixed(t.width))}
}

// hashed says that uniqExact holds a hash in the value's place, and groupArray its serialization.
func (t argType) hashed() bool {
	return t.name == "String" || t.name == "Decimal" || t.name == "DateTime64"
}

// element is one of many values.
func (t argType) element() statePart {
	if t.hashed() {
		return statePart{kind: partText}
	}
	return fixed(t.width)
}

// sum is the width of the sum of values.
func (t argType) sum() (uint64, bool) {
	switch {
	case t.integer(), t.float():
		return 8, true
	case t.name == "Decimal":
		return max(t.width, 16), true
	}
	return 0, false
}

func plainState(name string, params []string, args []argType) []statePart {
	if name == "count" && len(args) < 2 {
		return []statePart{{kind: partNumber}}
	}
	if len(args) == 0 || len(params) > 0 && !strings.HasPrefix(name, "quantile") {
		return nil
	}
	first := args[0]
	if name == "argMin" || name == "argMax" {
		if len(args) != 2 {
			return nil
		}
		return append(first.value(), args[1].value()...)
	}
	if len(args) != 1 {
		return nil
	}
	number := first.integer() || first.name == "Float64" // what the moments of are Float64
	switch name {
	case "sum":
		if w, ok := first.sum(); ok {
			return []statePart{fixed(w)}
		}
	case "sumWithOverflow":
		if first.integer() || first.float() {
			return []statePart{fixed(first.width)}
		}
	case "avg":
		if w, ok := first.sum(); ok {
			return []statePart{fixed(w), {kind: partNumber}}
		}
	case "min", "max", "any", "anyLast":
		return first.value()
	case "uniq":
		return []statePart{fixed(1), manyOf(fixed(4))}
	case "uniqExact":
		if first.hashed() {
			return []statePart{manyOf(fixed(16))}
		}
		return []statePart{manyOf(fixed(first.width))}
	case "groupArray", "groupUniqArray":
		return []statePart{manyOf(first.element())}
	case "quantile", "quantiles":
		if first.width > 0 {
			return []statePart{{kind: partReservoir, width: first.width}}
		}
	case "quantileExact", "quantilesExact":
		if first.width > 0 {
			return []statePart{manyOf(fixed(first.width))}
		}
	case "quantileTDigest", "quantilesTDigest":
		if first.width > 0 && first.name != "Decimal" {
			return []statePart{manyOf(fixed(8))}
		}
	case "stddevPop", "stddevSamp", "varPop", "varSamp":
		if number {
			return []statePart{fixed(24)}
		}
	case "stddevPopStable", "stddevSampStable", "varPopStable", "varSampStable":
		if number {
			return []statePart{{kind: partNumber}, fixed(16)}
		}
	}
	return nil
}

// states passes rows states.
func (w *Walker) states(parts []statePart, rows uint64) error {
	if len(parts) == 1 && parts[0].kind == partFixed {
		return w.skip(rows * parts[0].width)
	}
	for range rows {
		if err := w.state(parts); err != nil {
			return err
		}
	}
	return nil
}

func (w *Walker) state(parts []statePart) error {
	for _, p := range parts {
		if err := w.part(p); err != nil {
			return err
		}
	}
	return nil
}

func (w *Walker) part(p statePart) error {
	switch p.kind {
	case partFixed:
		return w.skip(p.width)
	case partNumber:
		_, err := w.uvarint()
		return err
	case partText:
		return w.strings(1)
	case partSized:
		var b [4]byte
		for i := range b {
			c, err := w.byte()
			if err != nil {
				return err
			}
			b[i] = c
		}
		n := int32(binary.LittleEndian.Uint32(b[:]))
		if n < -1 {
			return malformed("state with a text of %d bytes", n)
		}
		return w.skip(uint64(max(n, 0)))
	case partIf:
		b, err := w.byte()
		if err != nil || b == 0 {
			return err
		}
		return w.state(p.parts)
	case partMany:
		n, err := w.uvarint()
		if err != nil {
			return err
		}
		if n > maxRows {
			return malformed("state of %d values", n)
		}
		return w.states(p.parts, n)
	case partReservoir:
		most, err := w.uint64()
		if err != nil {
			return err
		}
		seen, err := w.uint64()
		if err != nil {
			return err
		}
		if err := w.strings(1); err != nil { // its random numbers
			return err
		}
		n := min(most, seen)
		if n > maxRows {
			return malformed("sample of %d values", n)
		}
		return w.skip(n * p.width)
	}
	return fmt.Errorf("part %d of a state: %w", p.kind, ErrUnsupported)
}
