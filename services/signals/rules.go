package signals

import (
	"fmt"
	"strings"

	"github.com/hashpivot/hashpivot/schemas/reference"
)

const noRules = "none"

// Rules tell what a print does to a bar. They are not safe for concurrent use.
type Rules struct {
	// Method stands in every bar that was made with them.
	Method string

	table reference.Conditions
	cache map[[2]string]rule // by code and tape
	// Unknown counts conditions that the table does not have.
	Unknown uint64
}

type rule struct {
	minute, daily reference.Flags
	unknown       bool
}

// regular is a print without conditions.
var regular rule

// volumeOnly is a print with a condition that nobody knows: it was traded, but its price may mean anything.
var volumeOnly = rule{
	minute:  reference.Flags{OpenClose: reference.Never, HighLow: reference.Never},
	daily:   reference.Flags{OpenClose: reference.Never, HighLow: reference.Never},
	unknown: true,
}

// NewRules finds the table of a venue, or makes rules that take every print for a regular one.
func NewRules(name string) (*Rules, error) {
	if name == noRules {
		return &Rules{Method: "no-conditions/1"}, nil
	}
	tables, err := reference.LoadConditions()
	if err != nil {
		return nil, err
	}
	t, ok := tables[name]
	if !ok {
		return nil, fmt.Errorf("no sale-condition rules are called %q", name)
	}
	return &Rules{Method: t.Method, table: t, cache: map[[2]string]rule{}}, nil
}

// of the conditions of one print: the strictest wins, flag by flag.
func (r *Rules) of(conditions []string, tape string) rule {
	if r.cache == nil || len(conditions) == 0 {
		return regular
	}
	out := regular
	for _, code := range conditions {
		x := r.one(code, tape)
		if x.unknown {
			r.Unknown++
		}
		out.minute, out.daily = out.minute.Strictest(x.minute), out.daily.Strictest(x.daily)
	}
	return out
}

// maxCached bounds the cache against a venue that makes codes up.
const maxCached = 4096

func (r *Rules) one(code, tape string) rule {
	k := [2]string{code, tape}
	if x, ok := r.cache[k]; ok {
		return x
	}
	x := volumeOnly
	if code == "" {
		x = regular
	} else if c, ok := r.table.Find(code, tape); ok {
		x = rule{minute: c.Minute, daily: c.Daily}
	}
	if len(r.cache) < maxCached {
		r.cache[[2]string{strings.Clone(code), strings.Clone(tape)}] = x // they may be pieces of a whole message
	}
	return x
}

// rulesName picks the rules of a source from the configuration.
func rulesName(byPrefix map[string]string, source string) string {
	source = strings.TrimPrefix(strings.TrimPrefix(source, "sim-"), "rec-")
	best, name := -1, noRules
	for prefix, n := range byPrefix {
		if strings.HasPrefix(source, prefix) && len(prefix) > best {
			best, name = len(prefix), n
		}
	}
	return name
}
