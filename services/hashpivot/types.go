package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/store"
)

// chType is a type of ClickHouse's, as far as its values are written differently: Nullable and LowCardinality are taken off.
type chType struct {
	name   string   // Decimal, Array, DateTime64 …
	args   []chType // of Array, Map and Tuple
	fields []string // names of a Tuple's; nil where they have none
	params []string // of the others: precision, scale, zone
}

// parseType takes a type's name apart: Map(String, Array(Nullable(Decimal(18, 8)))).
func parseType(s string) chType {
	name, params := store.TypeParts(strings.TrimSpace(s))
	t := chType{name: name}
	switch name {
	case "Nullable", "LowCardinality":
		return parseType(params[0])
	case "SimpleAggregateFunction":
		return parseType(params[len(params)-1])
	case "Array", "Map":
		for _, p := range params {
			t.args = append(t.args, parseType(p))
		}
	case "Tuple", "Nested":
		for _, p := range params {
			if field, typ := store.TypeField(p); field != "" {
				t.fields = append(t.fields, field)
				p = typ
			}
			t.args = append(t.args, parseType(p))
		}
		if name == "Nested" {
			return chType{name: "Array", args: []chType{{name: "Tuple", args: t.args, fields: t.fields}}}
		}
	default:
		t.params = params
	}
	return t
}

// number is the i-th parameter.
func (t chType) number(i int) int {
	if i >= len(t.params) {
		return 0
	}
	n, _ := strconv.Atoi(t.params[i]) // the server's own
	return n
}

// timeText is a time in the column's zone to the column's digits. UTC needs no offset, others have theirs.
func (t chType) timeText(v time.Time, between, utc string) string {
	switch t.name {
	case "Date", "Date32":
		return v.Format(time.DateOnly)
	case "Time", "Time64":
		return v.Format("15:04:05.999999999")
	}
	layout := time.DateOnly + between + time.TimeOnly
	if digits := t.number(0); t.name == "DateTime64" && digits > 0 {
		layout += "." + strings.Repeat("0", digits)
	}
	if v.Location() == time.UTC || v.Location().String() == "UTC" {
		return v.Format(layout) + utc
	}
	return v.Format(layout + "-07:00")
}

// text is a value as CSV and tables have it: text bare, times as ClickHouse writes them, what has parts as JSON.
func (t chType) text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	case time.Time:
		return t.timeText(v, " ", ""), nil
	case float64:
		return floatText(v, 64), nil
	case float32:
		return floatText(float64(v), 32), nil
	}
	if t.args == nil {
		return fmt.Sprint(v), nil
	}
	b, err := t.appendJSON(nil, v)
	return string(b), err
}

func floatText(v float64, bits int) string {
	switch {
	case math.IsNaN(v):
		return "nan"
	case math.IsInf(v, 0):
		return strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(v, 'g', -1, bits), "+"))
	}
	return strconv.FormatFloat(v, 'g', -1, bits)
}

// appendJSON appends a value: numbers exactly, as numbers; times as RFC 3339 to the column's digits; what JSON has no number for as "nan", "inf", "-inf".
func (t chType) appendJSON(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case string:
		return appendJSONString(b, v), nil
	case json.Number:
		return append(b, v...), nil
	case time.Time:
		b = append(b, '"')
		b = append(b, t.timeText(v, "T", "Z")...)
		return append(b, '"'), nil
	case float64:
		return appendJSONFloat(b, v, 64), nil
	case float32:
		return appendJSONFloat(b, float64(v), 32), nil
	}
	r := reflect.ValueOf(v)
	switch {
	case t.name == "Tuple" && r.Kind() == reflect.Map:
		return t.appendFields(b, r)
	case r.Kind() == reflect.Map && len(t.args) == 2:
		return t.appendMap(b, r)
	case (r.Kind() == reflect.Slice || r.Kind() == reflect.Array) && t.args != nil:
		b = append(b, '[')
		for i := range r.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			elem := t.args[0]
			if t.name == "Tuple" {
				elem = t.args[i]
			}
			var err error
			if b, err = elem.appendJSON(b, r.Index(i).Interface()); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write a %s as JSON: %w", t.name, err)
	}
	return append(b, text...), nil
}

// appendFields appends a named tuple as an object, its fields in the type's order.
func (t chType) appendFields(b []byte, r reflect.Value) ([]byte, error) {
	b = append(b, '{')
	for i, name := range t.fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONString(b, name), ':')
		var v any
		if f := r.MapIndex(reflect.ValueOf(name)); f.IsValid() {
			v = f.Interface()
		}
		var err error
		if b, err = t.args[i].appendJSON(b, v); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendMap appends a map as an object, its keys in order: the driver has lost the server's.
func (t chType) appendMap(b []byte, r reflect.Value) ([]byte, error) {
	type entry struct {
		key string
		v   any
	}
	entries := make([]entry, 0, r.Len())
	for _, k := range r.MapKeys() {
		key, err := t.args[0].text(k.Interface())
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{key, r.MapIndex(k).Interface()})
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	b = append(b, '{')
	for i, e := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONString(b, e.key), ':')
		var err error
		if b, err = t.args[1].appendJSON(b, e.v); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendJSONFloat(b []byte, v float64, bits int) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(append(append(b, '"'), floatText(v, bits)...), '"')
	}
	return strconv.AppendFloat(b, v, 'g', -1, bits)
}

func appendJSONString(b []byte, s string) []byte {
	w := bytes.NewBuffer(b)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string can always be written
	return w.Bytes()[:w.Len()-1]
}
