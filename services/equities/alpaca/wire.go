package alpaca

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// kind of a value on the wire.
type kind uint8

const (
	kNull kind = iota
	kBool
	kString
	kNumber // JSON: text
	kInt
	kUint
	kFloat
	kTime
	kArray
	kMap
	kOther // MsgPack binary and foreign extensions
)

var kindNames = [...]string{"null", "a boolean", "a string", "a number", "an integer", "an integer", "a float", "a time", "an array", "an object", "binary"}

func (k kind) String() string { return kindNames[k] }

// value is one value of a frame, in either encoding. It points into the frame and is read when it is asked for, so that fields which nobody
// wants cost nothing and a number keeps its text.
type value struct {
	kind kind
	pack bool   // MsgPack
	raw  []byte // string: between the quotes; number: its text; array, map: the whole of it
	num  uint64 // MsgPack numbers: the bits; times: the Unix second
	nsec uint32 // times
}

// maxDepth bounds the nesting that is followed; the protocol needs four.
const maxDepth = 32

var (
	errTruncated = errors.New("cut short")
	errDepth     = fmt.Errorf("nested deeper than %d", maxDepth)
)

func malformed(format string, args ...any) error {
	return &feed.Malformed{Reason: feed.ReasonMalformed, Err: fmt.Errorf(format, args...)}
}

func wrongType(format string, args ...any) error {
	return &feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf(format, args...)}
}

// elements calls fn for each element of an array, each with the bytes it came from. An error of fn ends it.
func (v value) elements(fn func(e value, raw []byte) error) error {
	if v.kind != kArray {
		return wrongType("want an array, got %s", v.kind)
	}
	if v.pack {
		return packElements(v.raw, fn)
	}
	return jsonElements(v.raw, fn)
}

// fields calls fn for each field of an object. key is valid during the call.
func (v value) fields(fn func(key []byte, f value) error) error {
	if v.kind != kMap {
		return wrongType("want an object, got %s", v.kind)
	}
	if v.pack {
		return packFields(v.raw, fn)
	}
	return jsonFields(v.raw, fn)
}

// maxText bounds codes, ids and phrases: what is longer is not what it should be.
const maxText = 128

// text of a string of at most maxText bytes of valid UTF-8. in may be nil.
func (v value) text(in *interner) (string, error) {
	if v.kind == kNull {
		return "", nil
	}
	if v.kind != kString {
		return "", wrongType("want a string, got %s", v.kind)
	}
	if len(v.raw) > maxText {
		return "", wrongType("a string of %d bytes, more than %d", len(v.raw), maxText)
	}
	plain := true
	for _, c := range v.raw {
		if c == '\\' && !v.pack || c >= utf8.RuneSelf {
			plain = false
			break
		}
	}
	if plain {
		return in.get(v.raw), nil
	}
	if !utf8.Valid(v.raw) {
		return "", malformed("a string that is not UTF-8")
	}
	if v.pack {
		return in.get(v.raw), nil
	}
	quoted := make([]byte, 0, len(v.raw)+2)
	quoted = append(append(append(quoted, '"'), v.raw...), '"')
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "", malformed("a string that does not parse: %w", err)
	}
	return s, nil
}

// decimal reads a number exactly. JSON numbers are parsed from their text. MsgPack carries prices as float64 by the venue's own
// protocol: there the shortest decimal text that rounds to the float is the price that the venue meant.
func (v value) decimal() (market.Decimal, error) {
	var buf [32]byte
	text := v.raw
	switch v.kind {
	case kNumber:
		// Exponents of a venue are small; one of thousands would make an exact decimal do absurd work.
		if len(text) > 64 {
			return market.Decimal{}, wrongType("a number of %d digits", len(text))
		}
	case kInt:
		text = strconv.AppendInt(buf[:0], int64(v.num), 10)
	case kUint:
		text = strconv.AppendUint(buf[:0], v.num, 10)
	case kFloat:
		f := math.Float64frombits(v.num)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return market.Decimal{}, &market.Invalid{Reason: market.ReasonValue, Detail: "a number that is NaN or infinite"}
		}
		if math.Abs(f) > 1e18 || f != 0 && math.Abs(f) < 1e-15 {
			return market.Decimal{}, &market.Invalid{Reason: market.ReasonPrecision, Detail: fmt.Sprintf("number %g has more digits than are held exactly", f)}
		}
		text = strconv.AppendFloat(buf[:0], f, 'f', -1, 64)
	default:
		return market.Decimal{}, wrongType("want a number, got %s", v.kind)
	}
	d, err := market.ParseDecimal(string(text))
	if err != nil {
		return d, &market.Invalid{Reason: market.ReasonPrecision, Detail: err.Error()}
	}
	return d, nil
}

// digits reads an integer as text, as ids are kept.
func (v value) digits() (string, error) {
	switch v.kind {
	case kInt:
		return strconv.FormatInt(int64(v.num), 10), nil
	case kUint:
		return strconv.FormatUint(v.num, 10), nil
	case kNumber:
		if len(v.raw) > 20 {
			return "", wrongType("an integer of %d digits", len(v.raw))
		}
		for i, c := range v.raw {
			if (c < '0' || c > '9') && (c != '-' || i > 0) {
				return "", wrongType("want an integer, got %.20q", v.raw)
			}
		}
		return string(v.raw), nil
	}
	return "", wrongType("want an integer, got %s", v.kind)
}

// count reads a whole number that is not below 0.
func (v value) count() (uint64, error) {
	text, err := v.digits()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, &market.Invalid{Reason: market.ReasonValue, Detail: fmt.Sprintf("%s is no count", text)}
	}
	return n, nil
}

// time reads RFC 3339 text or a MsgPack timestamp.
func (v value) time() (time.Time, error) {
	switch v.kind {
	case kTime:
		return time.Unix(int64(v.num), int64(v.nsec)).UTC(), nil
	case kString:
		var t time.Time
		if len(v.raw) > 64 {
			return t, wrongType("a time of %d bytes", len(v.raw))
		}
		if err := t.UnmarshalText(v.raw); err != nil {
			return t, wrongType("time %.40q: not RFC 3339", v.raw)
		}
		return t.UTC(), nil
	}
	return time.Time{}, wrongType("want a time, got %s", v.kind)
}

// maxList bounds the sale conditions of a print; the tapes have four.
const maxList = 16

// texts reads a list of short strings; null is an empty one.
func (v value) texts(in *interner) ([]string, error) {
	if v.kind == kNull {
		return nil, nil
	}
	if v.kind == kArray {
		if list, ok := in.list(v.raw); ok {
			return list, nil
		}
	}
	var out []string
	err := v.elements(func(e value, _ []byte) error {
		if len(out) == maxList {
			return wrongType("a list of more than %d", maxList)
		}
		s, err := e.text(in)
		if err == nil && e.kind == kNull {
			err = wrongType("null in a list of strings")
		}
		out = append(out, s)
		return err
	})
	if err == nil && v.kind == kArray {
		in.keep(v.raw, out)
	}
	return out, err
}

// interner keeps one copy of the few strings that a feed repeats without end: symbols, exchanges, conditions. Bounded: a full one makes copies.
// Lists of conditions are few too, and are shared by the events that have them: nobody may write to them.
type interner struct {
	known map[string]string
	lists map[string][]string // by their bytes on the wire
}

const maxInterned = 4096

func newInterner() *interner {
	return &interner{known: map[string]string{}, lists: map[string][]string{}}
}

func (in *interner) list(raw []byte) ([]string, bool) {
	if in == nil {
		return nil, false
	}
	list, ok := in.lists[string(raw)]
	return list, ok
}

func (in *interner) keep(raw []byte, list []string) {
	if in != nil && len(in.lists) < maxInterned && len(raw) <= 64 {
		in.lists[string(raw)] = slices.Clip(list)
	}
}

func (in *interner) get(b []byte) string {
	if in == nil {
		return string(b)
	}
	if s, ok := in.known[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(in.known) < maxInterned && len(s) <= 16 {
		in.known[s] = s
	}
	return s
}
