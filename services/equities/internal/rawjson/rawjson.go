// Package rawjson reads fields of JSON objects by their exact names and keeps numbers as their text: encoding/json's structs match names
// without regard to case, and venues use T and t in one message.
package rawjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Object is a message's fields. Its getters remember the first error in Err.
type Object struct {
	fields map[string]json.RawMessage
	Err    error
}

// maxFields bounds the fields of a message; no protocol here has a third of it.
const maxFields = 64

// Parse reads an object.
func Parse(data []byte) (*Object, error) {
	if t := bytes.TrimLeft(data, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return nil, wrongType("want an object, got %.20q", t)
	}
	o := &Object{}
	if err := feed.DecodeJSON(data, &o.fields); err != nil {
		return nil, err
	}
	if len(o.fields) > maxFields {
		return nil, &feed.Malformed{Reason: feed.ReasonMalformed, Err: fmt.Errorf("a message of more than %d fields", maxFields)}
	}
	return o, nil
}

// Array reads the elements of an array, undecoded.
func Array(data []byte) (list []json.RawMessage, err error) {
	if t := bytes.TrimLeft(data, " \t\r\n"); len(t) == 0 || t[0] != '[' {
		return nil, wrongType("want an array, got %.20q", t)
	}
	return list, feed.DecodeJSON(data, &list)
}

func wrongType(format string, args ...any) error {
	return &feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf(format, args...)}
}

// Need says whether a field must be there.
type Need bool

// A field that is missing or null is an error, or is not.
const (
	Required Need = true
	Optional Need = false
)

// Get is a field's bytes; null counts as missing.
func (o *Object) Get(key string, n Need) (json.RawMessage, bool) {
	raw, ok := o.fields[key]
	if ok && string(raw) != "null" {
		return raw, true
	}
	if n == Required {
		o.fail(&market.Invalid{Reason: market.ReasonMissing, Detail: fmt.Sprintf("field %s is missing", key)})
	}
	return nil, false
}

func (o *Object) fail(err error) {
	if o.Err == nil {
		o.Err = err
	}
}

// Fail remembers an error of a field.
func (o *Object) Fail(key string, err error) {
	if err != nil {
		o.fail(fmt.Errorf("field %s: %w", key, err))
	}
}

// maxText bounds codes, ids and phrases; long texts are asked for by LongText.
const maxText = 128

// Text of a string of at most 128 bytes.
func (o *Object) Text(key string, n Need) string { return o.text(key, n, maxText) }

// LongText of a string of at most 4 KiB.
func (o *Object) LongText(key string, n Need) string { return o.text(key, n, 4<<10) }

func (o *Object) text(key string, n Need, limit int) string {
	raw, ok := o.Get(key, n)
	if !ok {
		return ""
	}
	s, err := text(raw, limit)
	o.Fail(key, err)
	return s
}

func text(raw json.RawMessage, limit int) (s string, err error) {
	if raw[0] != '"' {
		return "", wrongType("want a string, got %.20q", raw)
	}
	if len(raw) > limit+2 {
		return "", wrongType("a string of %d bytes, more than %d", len(raw)-2, limit)
	}
	return s, feed.DecodeJSON(raw, &s)
}

// Number is the text of a number of at most 64 characters.
func (o *Object) number(key string, n Need) (string, bool) {
	raw, ok := o.Get(key, n)
	if !ok {
		return "", false
	}
	if c := raw[0]; c != '-' && (c < '0' || c > '9') {
		o.Fail(key, wrongType("want a number, got %.20q", raw))
		return "", false
	}
	if len(raw) > 64 {
		o.Fail(key, wrongType("a number of %d digits", len(raw)))
		return "", false
	}
	return string(raw), true
}

// Decimal reads a number exactly.
func (o *Object) Decimal(key string, n Need) market.Decimal {
	s, ok := o.number(key, n)
	if !ok {
		return market.Decimal{}
	}
	return o.parse(key, s)
}

// DecimalText reads a number that is written as a string.
func (o *Object) DecimalText(key string, n Need) market.Decimal {
	s := o.Text(key, n)
	if s == "" {
		return market.Decimal{}
	}
	return o.parse(key, s)
}

func (o *Object) parse(key, s string) market.Decimal {
	d, err := market.ParseDecimal(s)
	if err != nil {
		o.Fail(key, &market.Invalid{Reason: market.ReasonPrecision, Detail: err.Error()})
	}
	return d
}

// Int reads a whole number.
func (o *Object) Int(key string, n Need) int64 {
	s, ok := o.number(key, n)
	if !ok {
		return 0
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		o.Fail(key, wrongType("want a whole number, got %.40s", s))
	}
	return i
}

// Digits reads a whole number as text, as ids are kept; "" where it is missing.
func (o *Object) Digits(key string, n Need) string {
	s, ok := o.number(key, n)
	if !ok {
		return ""
	}
	if _, err := strconv.ParseInt(s, 10, 64); err != nil {
		if _, err := strconv.ParseUint(s, 10, 64); err != nil {
			o.Fail(key, wrongType("want a whole number, got %.40s", s))
		}
	}
	return s
}

// Has reports whether a field is there and not null.
func (o *Object) Has(key string) bool {
	_, ok := o.Get(key, Optional)
	return ok
}

// List is the elements of a list of at most limit.
func (o *Object) List(key string, n Need, limit int) []json.RawMessage {
	raw, ok := o.Get(key, n)
	if !ok {
		return nil
	}
	list, err := Array(raw)
	if err == nil && len(list) > limit {
		err = wrongType("a list of more than %d", limit)
	}
	o.Fail(key, err)
	if err != nil {
		return nil
	}
	return list
}

// maxCodes bounds the conditions of a print; the tapes have four.
const maxCodes = 16

// Codes reads a list of whole numbers or short strings as texts; a single one is a list of one.
func (o *Object) Codes(key string) (out []string) {
	raw, ok := o.Get(key, Optional)
	if !ok {
		return nil
	}
	list := []json.RawMessage{raw}
	if raw[0] == '[' {
		list = o.List(key, Optional, maxCodes)
	}
	for _, e := range list {
		s := string(e)
		if e[0] == '"' {
			var err error
			if s, err = text(e, maxText); err != nil {
				o.Fail(key, err)
				return nil
			}
		} else if _, err := strconv.ParseInt(s, 10, 64); err != nil {
			o.Fail(key, wrongType("want codes, got %.40s", s))
			return nil
		}
		out = append(out, s)
	}
	return out
}
