package live

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// eachField calls f with each field of a JSON object; one that is there twice is an error, because readers differ in which of the two counts.
// where names the object in the error.
func eachField(data []byte, where string, f func(name string, value json.RawMessage)) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return Errorf(CodeBadRequest, "%s must be an object, not %s", where, kind(data))
	}
	var err error
	seen := map[string]bool{}
	for dec.More() {
		key, e := dec.Token()
		name, ok := key.(string)
		var value json.RawMessage
		if e != nil || !ok || dec.Decode(&value) != nil {
			return malformedf(CloseMalformed, "%s is no JSON", where)
		}
		if seen[name] {
			if err == nil {
				err = Errorf(CodeBadRequest, "field %.32q is there twice in %s", name, where)
			}
			continue
		}
		seen[name] = true
		f(name, value)
	}
	return err
}

// kind is what a value is, for an error.
func kind(value []byte) string {
	value = bytes.TrimLeft(value, " \t\r\n")
	if len(value) == 0 {
		return "nothing"
	}
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

func text(name string, value json.RawMessage, maxLen int) (string, error) {
	var s string
	if value[0] != '"' || json.Unmarshal(value, &s) != nil {
		return "", Errorf(CodeBadRequest, "%s must be a text, not %s", name, kind(value))
	}
	if len(s) > maxLen {
		return "", Errorf(CodeBadRequest, "%s has %d bytes; at most %d are taken", name, len(s), maxLen)
	}
	return s, nil
}

func texts(name string, value json.RawMessage) ([]string, error) {
	list, err := list(name, value, "texts", MaxSymbols)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(list))
	for i, v := range list {
		// Their length is the pattern check's business.
		if out[i], err = text(name+"["+strconv.Itoa(i)+"]", v, MaxRequestBytes); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func list(name string, value json.RawMessage, of string, most int) ([]json.RawMessage, error) {
	var list []json.RawMessage
	if value[0] != '[' || json.Unmarshal(value, &list) != nil {
		return nil, Errorf(CodeBadRequest, "%s must be a list of %s, not %s", name, of, kind(value))
	}
	if len(list) > most {
		return nil, Errorf(CodeTooMany, "%s has %d entries; at most %d are taken", name, len(list), most)
	}
	return list, nil
}

func oneOf(name string, value json.RawMessage, known ...string) (string, error) {
	s, err := text(name, value, MaxIDLen)
	if err != nil {
		return "", err
	}
	for _, k := range known {
		if s == k {
			return s, nil
		}
	}
	return "", Errorf(CodeBadRequest, "%s %.32q is none of %s", name, s, strings.Join(known, ", "))
}

// channel and interval are read as they are: Normalize has better errors for unknown ones.
func channel(name string, value json.RawMessage) (Channel, error) {
	s, err := text(name, value, MaxIDLen)
	return Channel(s), err
}

func interval(name string, value json.RawMessage) (market.Interval, error) {
	s, err := text(name, value, MaxIDLen)
	return market.Interval(s), err
}

// decimalNumber is a finite number: JSON has no NaN, but it has 1e999.
func decimalNumber(name string, value json.RawMessage) (float64, error) {
	if c := value[0]; c != '-' && (c < '0' || c > '9') {
		return 0, Errorf(CodeBadRequest, "%s must be a number, not %s", name, kind(value))
	}
	x, err := strconv.ParseFloat(string(value), 64)
	if err != nil || math.IsInf(x, 0) {
		return 0, Errorf(CodeBadRequest, "%s is a number beyond any bound", name)
	}
	return x, nil
}

func speed(name string, value json.RawMessage) (*float64, error) {
	x, err := decimalNumber(name, value)
	if err != nil {
		return nil, err
	}
	if x != 0 && !(x >= MinSpeed && x <= MaxSpeed) {
		return nil, Errorf(CodeBadRate, "%s %v is neither 0 nor from %v to %v times the pace of history", name, x, MinSpeed, MaxSpeed)
	}
	return &x, nil
}

func instant(name string, value json.RawMessage) (time.Time, error) {
	s, err := text(name, value, MaxIDLen)
	if err != nil {
		return time.Time{}, err
	}
	t, err := parseInstant(s)
	if err != nil {
		return time.Time{}, Errorf(CodeBadRequest, "%s %.40q is no time as 2026-11-25T15:30:00Z: %s", name, s, err)
	}
	return t, nil
}

func positions(name string, value json.RawMessage) (map[string]string, error) {
	out := map[string]string{}
	var first error
	err := eachField(value, name, func(sub string, cursor json.RawMessage) {
		c, err := text(name+"["+strconv.Quote(sub[:min(len(sub), 32)])+"]", cursor, maxSubLen)
		if err == nil && len(sub) > maxSubLen {
			err = Errorf(CodeBadRequest, "%s has a sub of %d bytes; at most %d are taken", name, len(sub), maxSubLen)
		}
		if err == nil && len(out) == MaxPositions {
			err = Errorf(CodeTooMany, "%s has more than %d entries", name, MaxPositions)
		}
		if err == nil {
			out[sub] = c
		} else if first == nil {
			first = err
		}
	})
	if first != nil {
		return nil, first
	}
	return out, err
}

func subscriptions(name string, value json.RawMessage) ([]Spec, error) {
	list, err := list(name, value, "subscriptions", MaxReplaySubs)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, Errorf(CodeBadRequest, "%s is empty; name what to replay", name)
	}
	out := make([]Spec, len(list))
	for i, v := range list {
		if err := spec(name+"["+strconv.Itoa(i)+"]", v, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// spec of a replay. It has no max_rate: history is sent whole.
func spec(where string, value json.RawMessage, s *Spec) error {
	var first error
	err := eachField(value, where, func(name string, value json.RawMessage) {
		var err error
		at := where + "." + name
		switch name {
		case "channel":
			s.Channel, err = channel(at, value)
		case "symbols":
			s.Symbols, err = texts(at, value)
		case "interval":
			s.Interval, err = interval(at, value)
		case "source":
			s.Source, err = text(at, value, MaxSymbolLen)
		default:
			err = Errorf(CodeBadRequest, "%s has a field %.32q; it takes channel, symbols, interval and source", where, name)
		}
		if err != nil && first == nil {
			first = err
		}
	})
	if first != nil {
		return first
	}
	return err
}
