package live

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Bounds of a subscription.
const (
	MaxSymbols    = 1000
	MaxSymbolLen  = 64
	MaxStars      = 3
	MinRate       = 0.1
	MaxRate       = 1000
	maxNameLen    = 96 // of a Spec's ID
	everySymbol   = "*"
	listSeparator = ","
)

// Spec says what a subscription selects and how fast it may come.
type Spec struct {
	Channel Channel `json:"channel"`
	// Symbols are keys of the channel or patterns with stars.
	Symbols []string `json:"symbols"`
	// Source is a source or a pattern; empty: all.
	Source string `json:"source,omitempty"`
	// Interval of bars.
	Interval market.Interval `json:"interval,omitempty"`
	// MaxRate is messages a second and symbol; 0: all.
	MaxRate float64 `json:"max_rate,omitempty"`
}

// Normalize refuses what cannot be selected, as an *Error, and puts the rest into its one form.
func (s *Spec) Normalize() error {
	if !s.Channel.Valid() {
		return Errorf(CodeBadChannel, "channel %.32q is none of %s", string(s.Channel), strings.Join(channelNames(), ", "))
	}
	if s.Channel == Bars && s.Interval.Duration() == 0 {
		return Errorf(CodeBadInterval, "channel bars needs an interval such as 1s, 1m, 5m, 1h or 1d; got %.16q", string(s.Interval))
	}
	if s.Channel != Bars && s.Interval != "" {
		return Errorf(CodeBadInterval, "channel %s has no intervals; leave interval out", s.Channel)
	}
	if s.MaxRate != 0 && !(s.MaxRate >= MinRate && s.MaxRate <= MaxRate) {
		return Errorf(CodeBadRate, "max_rate %v is not from %v to %v messages a second and symbol", s.MaxRate, MinRate, MaxRate)
	}
	// One spelling of a rate that differs by nothing anybody could see.
	s.MaxRate = math.Round(s.MaxRate*1000) / 1000
	if len(s.Symbols) == 0 {
		return Errorf(CodeBadSymbol, "symbols is empty; [%q] is all of the channel", everySymbol)
	}
	if len(s.Symbols) > MaxSymbols {
		return Errorf(CodeTooMany, "%d symbols are more than the %d of one subscription; use a pattern", len(s.Symbols), MaxSymbols)
	}
	for _, sym := range s.Symbols {
		if err := checkPattern(sym); err != nil {
			return err
		}
	}
	if s.Source != "" {
		if err := checkPattern(s.Source); err != nil {
			return err
		}
		if s.Source == everySymbol {
			s.Source = ""
		}
	}
	s.Symbols = slices.Clone(s.Symbols)
	slices.Sort(s.Symbols)
	s.Symbols = slices.Compact(s.Symbols)
	if slices.Contains(s.Symbols, everySymbol) {
		s.Symbols = []string{everySymbol}
	}
	return nil
}

func checkPattern(p string) error {
	if p == "" || len(p) > MaxSymbolLen {
		return Errorf(CodeBadSymbol, "symbol %.80q is empty or longer than %d bytes", p, MaxSymbolLen)
	}
	for _, c := range []byte(p) {
		if c <= ' ' || c >= 0x7f || c == ',' || c == '"' || c == '\\' || c == '@' {
			return Errorf(CodeBadSymbol, "symbol %.80q has a character that no symbol has", p)
		}
	}
	if strings.Count(p, "*") > MaxStars || strings.Contains(p, "**") {
		return Errorf(CodeBadSymbol, "symbol %.80q has more than %d stars, or two in a row", p, MaxStars)
	}
	return nil
}

// ID names the subscription by its content: the same wherever it is asked for. The Spec must be normalized.
func (s *Spec) ID() string {
	var b strings.Builder
	b.WriteString(string(s.Channel))
	if s.Interval != "" {
		b.WriteString("." + string(s.Interval))
	}
	b.WriteByte('/')
	list := strings.Join(s.Symbols, listSeparator)
	if len(list) > maxNameLen {
		list = "#" + strconv.FormatUint(xxh3.HashString(list), 36)
	}
	b.WriteString(list)
	if s.Source != "" {
		b.WriteString("&" + s.Source)
	}
	if s.MaxRate != 0 {
		b.WriteString("@" + strconv.FormatFloat(s.MaxRate, 'f', -1, 64))
	}
	return b.String()
}

// Stream is where the subscription's messages are.
func (s *Spec) Stream() market.Stream { return s.Channel.Stream() }

// Match reports whether the event is selected.
func (s *Spec) Match(ev market.Event) bool {
	if ev.Stream() != s.Channel.Stream() {
		return false
	}
	if bar, ok := ev.(*market.Bar); ok && bar.Interval != s.Interval {
		return false
	}
	if s.Source != "" && !MatchPattern(s.Source, ev.GetMeta().Source) {
		return false
	}
	return s.MatchKey(Key(ev))
}

// MatchKey reports whether the key is among the symbols.
func (s *Spec) MatchKey(key string) bool {
	for _, p := range s.Symbols {
		if MatchPattern(p, key) {
			return true
		}
	}
	return false
}

// Exact reports whether no symbol is a pattern.
func (s *Spec) Exact() bool {
	return !slices.ContainsFunc(s.Symbols, func(p string) bool { return strings.Contains(p, "*") })
}

// MatchPattern matches with stars for any run of characters, in time linear in both texts for each star.
func MatchPattern(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}

// Key is what the symbols of a channel select by.
func Key(ev market.Event) string {
	switch e := ev.(type) {
	case *market.Trade:
		return e.Symbol
	case *market.Quote:
		return e.Symbol
	case *market.Bar:
		return e.Symbol
	case *market.Halt:
		return e.Symbol
	case *market.Imbalance:
		return e.Symbol
	case *market.Hashprice:
		return e.Method
	case *market.Offer:
		return e.Provider + "/" + e.GPU
	case *market.Rate:
		return e.GPU + "/" + string(e.Class)
	case *market.Signal:
		return e.Name + "/" + e.Symbol
	}
	kind, rest := ev.Tokens()
	if kind == "network" {
		return rest[0]
	}
	return ev.GetMeta().Source
}
