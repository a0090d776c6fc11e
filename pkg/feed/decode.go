package feed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// DecodeJSON reads exactly one JSON value. Its errors carry a reason: ReasonType where a field is of another type than the protocol says,
// ReasonMalformed for anything else.
func DecodeJSON(data []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(to); err != nil {
		if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return &Malformed{Reason: ReasonType, Err: te}
		}
		if title, ok := htmlTitle(data); ok {
			err = fmt.Errorf("HTML instead of JSON, titled %.100q", title)
		}
		return &Malformed{Reason: ReasonMalformed, Err: err}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return &Malformed{Reason: ReasonMalformed, Err: errors.New("something follows the JSON value")}
	}
	return nil
}

// Missing is the error of a field that the protocol promises and the message lacks.
func Missing(field string) error {
	return &Malformed{Reason: market.ReasonMissing, Err: fmt.Errorf("%s is missing", field)}
}

// htmlTitle finds the title of a page of HTML: proxies and captive portals answer with one whatever was asked for.
func htmlTitle(data []byte) (string, bool) {
	data = bytes.ToLower(data[:min(len(data), 4096)])
	data = bytes.TrimLeft(data, "\ufeff \t\r\n")
	if !bytes.HasPrefix(data, []byte("<!doctype html")) && !bytes.HasPrefix(data, []byte("<html")) {
		return "", false
	}
	_, rest, _ := bytes.Cut(data, []byte("<title>"))
	title, _, ok := bytes.Cut(rest, []byte("<"))
	if !ok {
		return "", true
	}
	return string(bytes.TrimSpace(title)), true
}
