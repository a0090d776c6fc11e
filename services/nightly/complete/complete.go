// Package complete tells whether a trade date is complete: whether everything that will ever be known of it by itself is in the tables. It decides from
// facts that were observed and asks nobody; Judge says of each check whether it is met, and why in words.
package complete

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/session"
)

// Facts are what was observed of a trade date at a moment.
type Facts struct {
	Date session.Date
	Now  time.Time

	// TradeDate: the calendar has sessions of the date, from Begin to End. Known: its year's holidays are in the calendar. HalfDay: the regular session
	// closes early, at RegularClose.
	TradeDate, Known, HalfDay bool
	Begin, End, RegularClose  time.Time
	Zone                      *time.Location // of the exchange, for people; nil: UTC

	Feeds     []Feed
	Leases    []Lease
	Gaps      []Gap
	Bars      []Bars
	Streams   []Stream
	Hashprice uint64 // daily hashprices of the UTC day
	Rates     Rates
	// Audit is nil where none was made.
	Audit *Audit
}

// Feed is an upstream's source by the states that it told.
type Feed struct {
	Source string
	// OnThatDay: it was connected at the begin of the date or connected during it.
	OnThatDay bool
	// State is the last one told, at Since.
	State  string
	Since  time.Time
	Detail string
}

// Lease is the right to publish of a service.
type Lease struct {
	Service string
	// Held: it has a holder that is alive. Released: the last holder gave it back in good order.
	Held, Released bool
	// Renewed is the last sign of life of a holder.
	Renewed time.Time
}

// Gap is a line of the ledger that touches the date.
type Gap struct {
	Source, Symbol, State, Reason string
	From, To                      time.Time // zero: not known, not ended
}

// Bars of the date that a source told of an interval.
type Bars struct {
	Source, Interval string
	Final            uint64
	// Provisional are bars that are not final, and Symbols some of theirs.
	Provisional uint64
	Symbols     []string
	// Finalises: this source has said of a bar of the interval that it is final, ever. Where it never does there is nothing to wait for.
	Finalises bool
}

// Stream is how far a stream has landed.
type Stream struct {
	Name string
	// Target is the last message that was stored up to the end of the date, Through the last up to which everything is in the tables.
	Target, Through uint64
	// Trouble says why that cannot be told; empty: it can.
	Trouble string
}

// Rates are the on-demand GPU rates of the UTC day.
type Rates struct {
	Count uint64
	// Missing are the models that had a rate in the week before and have none of the day.
	Missing []string
}

// Audit is the balance of all streams.
type Audit struct {
	Clean            bool
	Lost, Duplicates uint64
	Streams          []string // where something differs
}

// Policy is what the operator decides.
type Policy struct {
	// Settle is how long after the last session's end feeds may still tell late prints and corrections.
	Settle time.Duration
	// InputsWithin is how long after the UTC day's end its hashprice and its GPU rates are waited for; later their absence is noted and does not hinder.
	InputsWithin time.Duration
}

// The checks, in the order in which they are told.
const (
	Calendar  = "calendar"
	Feeds     = "feeds"
	Services  = "services"
	Gaps      = "gaps"
	BarsFinal = "bars"
	Landed    = "landed"
	Hashprice = "hashprice"
	GPURates  = "gpu rates"
	AuditOf   = "audit"
)

// Item is one check.
type Item struct {
	Check string `json:"check"`
	Met   bool   `json:"met"`
	Why   string `json:"why"`
	// Note: it is met, but something is absent that a reader should know.
	Note bool `json:"note,omitempty"`
}

// Verdict is what is met and what is not.
type Verdict struct {
	Date  session.Date `json:"-"`
	Items []Item       `json:"items"`
}

// Complete reports whether everything is met.
func (v Verdict) Complete() bool { return len(v.Missing()) == 0 && len(v.Items) > 0 }

// Missing says what is not met, in words.
func (v Verdict) Missing() []string {
	return v.words(func(i Item) bool { return !i.Met })
}

// Notes says what is absent and does not hinder.
func (v Verdict) Notes() []string {
	return v.words(func(i Item) bool { return i.Met && i.Note })
}

func (v Verdict) words(which func(Item) bool) []string {
	var out []string
	for _, i := range v.Items {
		if which(i) {
			out = append(out, i.Check+": "+i.Why)
		}
	}
	return out
}

// OnlyAudit reports whether nothing but an audit that was not made is missing.
func (v Verdict) OnlyAudit(f Facts) bool {
	return f.Audit == nil && !slices.ContainsFunc(v.Items, func(i Item) bool { return !i.Met && i.Check != AuditOf })
}

// Judge decides.
func Judge(f Facts, p Policy) Verdict {
	v := Verdict{Date: f.Date}
	v.Items = append(v.Items, calendar(f, p))
	if !f.TradeDate {
		return v // of a date without sessions nothing else has a meaning
	}
	v.Items = append(v.Items, feeds(f), services(f), gaps(f), bars(f), landed(f), hashprice(f, p), rates(f, p), audit(f))
	return v
}

func met(check, format string, args ...any) Item {
	return Item{Check: check, Met: true, Why: fmt.Sprintf(format, args...)}
}

func unmet(check, format string, args ...any) Item {
	return Item{Check: check, Why: fmt.Sprintf(format, args...)}
}

func noted(check, format string, args ...any) Item {
	return Item{Check: check, Met: true, Note: true, Why: fmt.Sprintf(format, args...)}
}

// clock writes a moment for people.
func (f Facts) clock(t time.Time) string {
	zone := f.Zone
	if zone == nil {
		zone = time.UTC
	}
	return t.In(zone).Format("2006-01-02 15:04 MST")
}

func calendar(f Facts, p Policy) Item {
	if !f.TradeDate {
		return unmet(Calendar, "%s is no trade date: the calendar has no session of it", f.Date)
	}
	what := "the last session"
	if f.HalfDay {
		what = fmt.Sprintf("half day: the regular session closes at %s, the last session", f.clock(f.RegularClose))
	}
	switch settled := f.End.Add(p.Settle); {
	case f.Now.Before(f.End):
		return unmet(Calendar, "%s ends at %s", what, f.clock(f.End))
	case f.Now.Before(settled):
		return unmet(Calendar, "%s ended at %s, late prints are waited for until %s", what, f.clock(f.End), f.clock(settled))
	case !f.Known:
		return noted(Calendar, "%s ended at %s; the holidays of %d are not in the calendar, so it may be none of the market's", what, f.clock(f.End), f.Date.Year)
	}
	return met(Calendar, "%s ended at %s", what, f.clock(f.End))
}

// maxNamed bounds what a sentence lists.
const maxNamed = 5

// list joins what is to be named, bounded.
func list(words []string) string {
	if n := len(words); n > maxNamed {
		return strings.Join(words[:maxNamed], "; ") + fmt.Sprintf("; and %d more", n-maxNamed)
	}
	return strings.Join(words, "; ")
}

// awayWithin is how long a feed that was lost and never came back is told of, though it was not on that day.
const awayWithin = 14 * 24 * time.Hour

// feeds: each that was on that day was alive past the end of it, or has ended after it. What it missed while it was away is the ledger's to tell.
func feeds(f Facts) Item {
	var bad []string
	var away []string
	on, running := 0, 0
	for _, x := range f.Feeds {
		if !x.OnThatDay {
			if x.State != "stopped" && x.State != "connected" && x.Since.Before(f.Begin) && x.Since.After(f.Begin.Add(-awayWithin)) {
				away = append(away, fmt.Sprintf("%s was not on: %s since %s", x.Source, x.State, f.clock(x.Since)))
			}
			continue
		}
		on++
		switch {
		case x.State == "connected":
			running++
		case x.Since.Before(f.End):
			why := fmt.Sprintf("%s is %s since %s, before the end, and has not come back", x.Source, x.State, f.clock(x.Since))
			if x.Detail != "" {
				why += fmt.Sprintf(" (%.120s)", x.Detail)
			}
			bad = append(bad, why)
		}
	}
	switch {
	case len(bad) > 0:
		return unmet(Feeds, "%s", list(bad))
	case len(away) > 0:
		return noted(Feeds, "%d were on; %s", on, list(away))
	case on == 0:
		return noted(Feeds, "no feed was on that day: what there is of it was loaded from history")
	}
	return met(Feeds, "%d were on: %d are connected past the end, %d ended after it", on, running, on-running)
}

// services: a process that was killed leaves its feeds connected for ever, as far as their states say.
func services(f Facts) Item {
	var bad []string
	for _, l := range f.Leases {
		if !l.Held && !l.Released && !l.Renewed.Before(f.Begin) && l.Renewed.Before(f.End) {
			bad = append(bad, fmt.Sprintf("%s gave its last sign of life at %s, before the end, and nobody has followed: what its feeds say of themselves is not to be believed",
				l.Service, f.clock(l.Renewed)))
		}
	}
	if len(bad) > 0 {
		return unmet(Services, "%s", list(bad))
	}
	return met(Services, "none died during the date without a follower")
}

func gaps(f Facts) Item {
	var open []string
	settled := map[string]int{}
	for _, g := range f.Gaps {
		if g.State != "open" {
			settled[g.State]++
			continue
		}
		from, to := "an unknown time", "an open end"
		if !g.From.IsZero() {
			from = f.clock(g.From)
		}
		if !g.To.IsZero() {
			to = f.clock(g.To)
		}
		open = append(open, fmt.Sprintf("%s %s from %s to %s is open (%.120s)", g.Source, g.Symbol, from, to, g.Reason))
	}
	switch {
	case len(open) > 0:
		return unmet(Gaps, "%s", list(open))
	case settled["partly"]+settled["given_up"] > 0:
		return noted(Gaps, "none is open; %d were filled, %d partly, %d given up: that much is missing for good", settled["filled"], settled["partly"], settled["given_up"])
	case settled["filled"] > 0:
		return met(Gaps, "none is open; %d were filled", settled["filled"])
	}
	return met(Gaps, "none")
}

func bars(f Facts) Item {
	var bad, never []string
	var final uint64
	judged := false
	for _, b := range f.Bars {
		switch {
		case !b.Finalises:
			never = append(never, b.Source+" "+b.Interval)
		case b.Provisional > 0:
			bad = append(bad, fmt.Sprintf("%d of %d bars of %s, %s, are not final (%s)", b.Provisional, b.Provisional+b.Final, b.Source, b.Interval, strings.Join(b.Symbols, ", ")))
			judged = true
		default:
			judged = true
			final += b.Final
		}
	}
	switch {
	case len(bad) > 0:
		return unmet(BarsFinal, "%s", list(bad))
	case len(f.Bars) == 0:
		return unmet(BarsFinal, "there is none of the date")
	case !judged:
		return noted(BarsFinal, "nobody says of a bar of the date that it is final: %s", list(never))
	case len(never) > 0:
		return noted(BarsFinal, "%d are final; never said to be: %s", final, list(never))
	}
	return met(BarsFinal, "all %d are final", final)
}

func landed(f Facts) Item {
	var behind []string
	for _, s := range f.Streams {
		switch {
		case s.Trouble != "":
			behind = append(behind, s.Name+": "+s.Trouble)
		case s.Through < s.Target:
			behind = append(behind, fmt.Sprintf("%s has landed through %d of %d", s.Name, s.Through, s.Target))
		}
	}
	switch {
	case len(behind) > 0:
		return unmet(Landed, "%s", list(behind))
	case len(f.Streams) == 0:
		return unmet(Landed, "no stream was looked at")
	}
	return met(Landed, "all %d streams have landed past the end", len(f.Streams))
}

// absent is the verdict about an input of the UTC day that is not there.
func absent(f Facts, p Policy, check, what string) Item {
	day := time.Date(f.Date.Year, f.Date.Month, f.Date.Day+1, 0, 0, 0, 0, time.UTC)
	if late := day.Add(p.InputsWithin); f.Now.Before(late) {
		return unmet(check, "%s; waited for until %s", what, f.clock(late))
	}
	return noted(check, "%s, and is not waited for any more: figures that need it have none", what)
}

func hashprice(f Facts, p Policy) Item {
	if f.Hashprice == 0 {
		return absent(f, p, Hashprice, "there is no daily hashprice of "+f.Date.String())
	}
	return met(Hashprice, "the daily one is there")
}

func rates(f Facts, p Policy) Item {
	switch {
	case f.Rates.Count == 0:
		return absent(f, p, GPURates, "there is no on-demand rate of "+f.Date.String())
	case len(f.Rates.Missing) > 0:
		return absent(f, p, GPURates, "there is no rate of the day of "+list(f.Rates.Missing)+", which had one in the week before")
	}
	return met(GPURates, "%d on-demand rates of the day", f.Rates.Count)
}

func audit(f Facts) Item {
	switch a := f.Audit; {
	case a == nil:
		return unmet(AuditOf, "not made yet: it comes when all else is met")
	case !a.Clean:
		return unmet(AuditOf, "not clean: lost %d, doubled %d in %s; hashpivot audit names the places", a.Lost, a.Duplicates, list(a.Streams))
	}
	return met(AuditOf, "clean: published = landed + dead")
}
