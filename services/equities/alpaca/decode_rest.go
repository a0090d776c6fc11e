package alpaca

import (
	"bytes"
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// The fate of a print in history: field u of a trade record.
const (
	printValid     = ""
	printCancelled = "canceled"
	printIncorrect = "incorrect" // it was corrected and is no longer valid
	printCorrected = "corrected" // it is the correction of another
)

// record is one record of a history page.
type record struct {
	event market.Event
	fate  string // of a print
	raw   []byte
	err   error // it was refused; the page goes on
}

// page decodes an answer of the history: {"<name>":{"SYM":[...]},"next_page_token":...}. name is trades, quotes or bars. A page is read
// as a whole before any record of it is given out: a cut one is asked for again.
func (d *decoder) page(body []byte, name string, interval market.Interval, fn func(record) error) (next string, err error) {
	doc, err := parseJSON(body)
	if err != nil {
		return "", err
	}
	var records value
	found := false
	err = doc.fields(func(key []byte, f value) error {
		switch string(key) {
		case name:
			records, found = f, true
		case "next_page_token":
			if f.kind == kNull {
				return nil
			}
			if f.kind != kString || len(f.raw) > 1024 || bytes.IndexByte(f.raw, 0x5c) >= 0 {
				return wrongType("next_page_token is no token")
			}
			next = string(f.raw)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("history page: %w", err)
	}
	if !found {
		return "", &feed.Malformed{Reason: feed.ReasonProtocol, Err: fmt.Errorf("history page without %s", name)}
	}
	if records.kind == kNull { // no symbol has any
		return next, nil
	}
	err = records.fields(func(key []byte, list value) error {
		if list.kind == kNull {
			return nil
		}
		symbol, err := value{kind: kString, raw: key}.text(d.in)
		if err != nil {
			return err
		}
		if err := d.known(symbol); err != nil {
			return err
		}
		return list.elements(func(e value, raw []byte) error { return fn(d.record(e, raw, name, symbol, interval)) })
	})
	return next, err
}

func (d *decoder) record(e value, raw []byte, name, symbol string, interval market.Interval) record {
	r := record{raw: raw}
	if r.err = d.obj.read(e); r.err != nil {
		return r
	}
	o := &d.obj
	o.in = d.in
	switch name {
	case "trades":
		r.event = o.trade(symbol)
		r.fate = o.text("u", optional)
	case "quotes":
		r.event = o.quote(symbol)
	default:
		r.event = o.bar(symbol, interval)
	}
	if r.err = o.err; r.err != nil {
		r.event = nil
	}
	return r
}
