package session

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the calendar must work in an image without time zones

	"go.yaml.in/yaml/v3"
)

//go:embed us_equities.yaml
var usEquities []byte

// Schedule is a calendar read from dated configuration.
type Schedule struct {
	loc      *time.Location
	from, to int // years whose holidays are known
	weekends bool
	regimes  []regime
	holidays map[Date]bool
	early    map[Date]bool
}

type regime struct {
	from        Date
	full, early []span
}

// span in seconds from the trade date's midnight; below 0 for the evening before.
type span struct {
	kind        Kind
	open, close int
}

// US is the calendar of the US equity markets.
func US() (*Schedule, error) {
	s, err := Parse(usEquities)
	if err != nil {
		return nil, fmt.Errorf("load the US equity calendar: %w", err)
	}
	return s, nil
}

// USOvernight is the calendar of the venues that trade US equities at night: 20:00 to 04:00 New York time before each trade date.
func USOvernight() (*Schedule, error) {
	s, err := US()
	if err != nil {
		return nil, err
	}
	night := []span{{Overnight, -4 * 60 * 60, 4 * 60 * 60}}
	s.regimes = []regime{{s.regimes[0].from, night, night}}
	return s, nil
}

// Load reads the calendar of a file, in the format of us_equities.yaml.
func Load(path string) (*Schedule, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load calendar: %w", err)
	}
	s, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("load calendar %s: %w", path, err)
	}
	return s, nil
}

func newYork() (*time.Location, error) {
	loc, err := time.LoadLocation("America/New_York")
	if err != nil {
		return nil, fmt.Errorf("load the time zone of New York: %w", err)
	}
	return loc, nil
}

// Parse reads a calendar; us_equities.yaml shows the format.
func Parse(text []byte) (*Schedule, error) {
	type fileSession struct {
		Kind  Kind   `yaml:"kind"`
		Open  string `yaml:"open"`
		Close string `yaml:"close"`
	}
	var file struct {
		Timezone string `yaml:"timezone"`
		Years    struct {
			From int `yaml:"from"`
			To   int `yaml:"to"`
		} `yaml:"years"`
		Regimes []struct {
			From     time.Time     `yaml:"from"`
			Sessions []fileSession `yaml:"sessions"`
			Early    []fileSession `yaml:"early"`
		} `yaml:"regimes"`
		Weekends    bool        `yaml:"weekends"`
		Holidays    []time.Time `yaml:"holidays"`
		EarlyCloses []time.Time `yaml:"early_closes"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("parse calendar: %w", err)
	}
	loc, err := time.LoadLocation(file.Timezone)
	if err != nil {
		return nil, fmt.Errorf("parse calendar: timezone: %w", err)
	}
	s := &Schedule{loc: loc, from: file.Years.From, to: file.Years.To, weekends: file.Weekends, holidays: map[Date]bool{}, early: map[Date]bool{}}
	spans := func(list []fileSession) ([]span, error) {
		var out []span
		last := -24 * 60 * 60
		for _, f := range list {
			open, err := seconds(f.Open)
			if err != nil {
				return nil, err
			}
			closed, err := seconds(f.Close)
			if err != nil {
				return nil, err
			}
			switch f.Kind {
			case Overnight, Pre, Regular, After:
			default:
				return nil, fmt.Errorf("session kind %q is none of overnight, pre, regular, after", f.Kind)
			}
			if open < last || closed <= open {
				return nil, fmt.Errorf("session %s %s to %s overlaps the one before it or ends before it opens", f.Kind, f.Open, f.Close)
			}
			last = closed
			out = append(out, span{f.Kind, open, closed})
		}
		if len(out) == 0 {
			return nil, fmt.Errorf("a regime without sessions")
		}
		return out, nil
	}
	for _, r := range file.Regimes {
		full, err := spans(r.Sessions)
		if err != nil {
			return nil, fmt.Errorf("parse calendar: regime from %s: %w", r.From.Format(time.DateOnly), err)
		}
		early, err := spans(r.Early)
		if err != nil {
			return nil, fmt.Errorf("parse calendar: early closes of the regime from %s: %w", r.From.Format(time.DateOnly), err)
		}
		s.regimes = append(s.regimes, regime{dateOf(r.From), full, early})
	}
	if len(s.regimes) == 0 {
		return nil, fmt.Errorf("parse calendar: no regime")
	}
	if !slices.IsSortedFunc(s.regimes, func(a, b regime) int {
		if a.from.Before(b.from) {
			return -1
		}
		return 1
	}) {
		return nil, fmt.Errorf("parse calendar: regimes must come in the order of their dates")
	}
	for _, t := range file.Holidays {
		s.holidays[dateOf(t)] = true
	}
	for _, t := range file.EarlyCloses {
		if d := dateOf(t); s.holidays[d] {
			return nil, fmt.Errorf("parse calendar: %s is a holiday and an early close", d)
		}
		s.early[dateOf(t)] = true
	}
	return s, nil
}

// seconds reads "09:30", "09:30:15" or "-1 21:00".
func seconds(text string) (int, error) {
	clock, before := strings.CutPrefix(text, "-1 ")
	layout := "15:04"
	if strings.Count(clock, ":") == 2 {
		layout = "15:04:05"
	}
	t, err := time.Parse(layout, clock)
	if err != nil {
		return 0, fmt.Errorf("time %q, want it as 15:04, 15:04:05 or -1 15:04: %w", text, err)
	}
	s := (t.Hour()*60+t.Minute())*60 + t.Second()
	if before {
		s -= 24 * 60 * 60
	}
	return s, nil
}

// Covers reports whether the holidays of the date's year are known. Where they are not, every weekday is taken for a trade date.
func (s *Schedule) Covers(d Date) bool { return d.Year >= s.from && d.Year <= s.to }

// IsTradeDate reports whether the markets have a session of that trade date.
func (s *Schedule) IsTradeDate(d Date) bool {
	w := d.Weekday()
	return (s.weekends || w != time.Saturday && w != time.Sunday) && !s.holidays[d]
}

// Sessions of a trade date in order; none of a date without trading.
func (s *Schedule) Sessions(d Date) []Session {
	if !s.IsTradeDate(d) {
		return nil
	}
	r := s.regimes[0]
	for _, next := range s.regimes[1:] {
		if d.Before(next.from) {
			break
		}
		r = next
	}
	spans := r.full
	if s.early[d] {
		spans = r.early
	}
	out := make([]Session, 0, len(spans))
	for _, sp := range spans {
		out = append(out, Session{sp.kind, d, d.at(sp.open, s.loc), d.at(sp.close, s.loc)})
	}
	return out
}

// At implements Calendar.
func (s *Schedule) At(t time.Time) Session {
	today := s.DateOf(t)
	gap := Session{Kind: Closed}
	// Yesterday's last close starts a closed span, tomorrow's overnight session may have opened; a long weekend with holidays about it
	// is well within ten days.
	for d := today.AddDays(-10); ; d = d.AddDays(1) {
		for _, x := range s.Sessions(d) {
			switch {
			case !t.Before(x.Open) && t.Before(x.Close):
				return x
			case !t.Before(x.Close):
				gap.Open = x.Close
			default:
				gap.TradeDate, gap.Close = d, x.Open
				return gap
			}
		}
		if today.AddDays(30).Before(d) { // a calendar without trade dates: closed as far as it goes
			gap.TradeDate, gap.Close = d, d.at(0, s.loc)
			return gap
		}
	}
}

// NextTradeDate is the first trade date after d.
func (s *Schedule) NextTradeDate(d Date) Date {
	for range 30 {
		d = d.AddDays(1)
		if s.IsTradeDate(d) {
			break
		}
	}
	return d
}

// TradeDateEnd implements Calendar. A date without sessions ends at its midnight.
func (s *Schedule) TradeDateEnd(d Date) time.Time {
	all := s.Sessions(d)
	if len(all) == 0 {
		return d.AddDays(1).at(0, s.loc)
	}
	return all[len(all)-1].Close
}

// Midnight implements Calendar.
func (s *Schedule) Midnight(d Date) time.Time { return d.at(0, s.loc) }

// DateOf implements Calendar.
func (s *Schedule) DateOf(t time.Time) Date { return dateOf(t.In(s.loc)) }
