package session

import (
	"encoding/csv"
	"os"
	"strings"
	"testing"
	"time"
)

func us(t testing.TB) *Schedule {
	t.Helper()
	s, err := US()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ny reads New York wall time.
func ny(t testing.TB, text string) time.Time {
	t.Helper()
	loc, err := newYork()
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", text, loc)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestSessions(t *testing.T) {
	s := us(t)
	for _, c := range []struct {
		at    string // New York
		kind  Kind
		trade string
		open  string
		close string
		why   string
	}{
		{"2026-11-20 03:59", Closed, "2026-11-20", "2026-11-19 20:00", "2026-11-20 04:00", "night of the old regime"},
		{"2026-11-20 04:00", Pre, "2026-11-20", "2026-11-20 04:00", "2026-11-20 09:30", "the opening instant is inside"},
		{"2026-11-20 09:30", Regular, "2026-11-20", "2026-11-20 09:30", "2026-11-20 16:00", ""},
		{"2026-11-20 16:00", After, "2026-11-20", "2026-11-20 16:00", "2026-11-20 20:00", "the closing instant is outside"},
		{"2026-11-20 20:00", Closed, "2026-11-23", "2026-11-20 20:00", "2026-11-23 04:00", "weekend"},
		{"2026-11-22 21:30", Closed, "2026-11-23", "2026-11-20 20:00", "2026-11-23 04:00", "Sunday night before 23x5"},
		{"2026-11-26 12:00", Closed, "2026-11-27", "2026-11-25 20:00", "2026-11-27 04:00", "Thanksgiving"},
		{"2026-11-27 12:59", Regular, "2026-11-27", "2026-11-27 09:30", "2026-11-27 13:00", "early close"},
		{"2026-11-27 13:00", After, "2026-11-27", "2026-11-27 13:00", "2026-11-27 17:00", "early close"},
		{"2026-11-27 17:00", Closed, "2026-11-30", "2026-11-27 17:00", "2026-11-30 04:00", "early close"},
		{"2026-12-06 20:59", Closed, "2026-12-07", "2026-12-04 20:00", "2026-12-06 21:00", "just before the first night session"},
		{"2026-12-06 21:00", Overnight, "2026-12-07", "2026-12-06 21:00", "2026-12-07 04:00", "the first night session, Monday's"},
		{"2026-12-07 02:00", Overnight, "2026-12-07", "2026-12-06 21:00", "2026-12-07 04:00", "behind midnight"},
		{"2026-12-07 20:30", Closed, "2026-12-08", "2026-12-07 20:00", "2026-12-07 21:00", "the pause"},
		{"2026-12-07 21:00", Overnight, "2026-12-08", "2026-12-07 21:00", "2026-12-08 04:00", ""},
		{"2026-12-11 21:00", Closed, "2026-12-14", "2026-12-11 20:00", "2026-12-13 21:00", "no Friday night"},
		{"2026-12-24 14:00", After, "2026-12-24", "2026-12-24 13:00", "2026-12-24 17:00", "Christmas Eve"},
		{"2026-12-24 22:00", Closed, "2026-12-28", "2026-12-24 17:00", "2026-12-27 21:00", "no night session before a holiday"},
		{"2027-01-01 12:00", Closed, "2027-01-04", "2026-12-31 20:00", "2027-01-03 21:00", "New Year's Day"},
		{"2027-01-18 21:00", Overnight, "2027-01-19", "2027-01-18 21:00", "2027-01-19 04:00", "the evening of a holiday"},
		{"2027-03-12 10:00", Regular, "2027-03-12", "2027-03-12 09:30", "2027-03-12 16:00", "Friday before daylight saving"},
		{"2027-03-15 10:00", Regular, "2027-03-15", "2027-03-15 09:30", "2027-03-15 16:00", "Monday after it"},
	} {
		got := s.At(ny(t, c.at))
		want := Session{Kind: c.kind, Open: ny(t, c.open).UTC(), Close: ny(t, c.close).UTC()}
		want.TradeDate, _ = ParseDate(c.trade)
		if got != want {
			t.Errorf("%s (%s): got %+v, want %+v", c.at, c.why, got, want)
		}
	}
}

func TestDaylightSavingMovesTheOpening(t *testing.T) {
	s := us(t)
	for date, utc := range map[string]string{
		"2026-10-30": "13:30", // daylight time
		"2026-11-02": "14:30", // the clocks went back on 1 November
		"2027-03-12": "14:30",
		"2027-03-15": "13:30", // and forward on 14 March
	} {
		d, err := ParseDate(date)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range s.Sessions(d) {
			if x.Kind == Regular && x.Open.Format("15:04") != utc {
				t.Errorf("regular session of %s opens %s UTC, want %s", date, x.Open.Format("15:04"), utc)
			}
		}
		want := "04:00"
		if utc == "14:30" {
			want = "05:00"
		}
		if got := s.Midnight(d).Format("15:04"); got != want {
			t.Errorf("New York midnight of %s is %s UTC, want %s", date, got, want)
		}
	}
}

// A span must contain every moment that At assigns to it, and the spans must follow each other without hole or overlap.
func TestSpansTileTime(t *testing.T) {
	s := us(t)
	at := ny(t, "2026-10-28 00:00")
	end := ny(t, "2027-04-01 00:00")
	prev := s.At(at)
	for n := 0; at.Before(end); n++ {
		if n > 2000 {
			t.Fatal("spans do not advance")
		}
		x := s.At(at)
		if at.Before(x.Open) || !at.Before(x.Close) {
			t.Fatalf("%s is outside of its own span %+v", at, x)
		}
		if last := s.At(x.Close.Add(-time.Nanosecond)); last != x {
			t.Fatalf("the last instant of %+v is in %+v", x, last)
		}
		if x != prev && !x.Open.Equal(prev.Close) {
			t.Fatalf("%+v does not follow %+v", x, prev)
		}
		if x.TradeDate.Before(prev.TradeDate) {
			t.Fatalf("the trade date goes back from %s to %s", prev.TradeDate, x.TradeDate)
		}
		prev, at = x, x.Close
	}
}

func TestTradeDates(t *testing.T) {
	s := us(t)
	count := func(year int) (n int) {
		for d := (Date{year, 1, 1}); d.Year == year; d = d.AddDays(1) {
			if s.IsTradeDate(d) {
				n++
			}
		}
		return n
	}
	for year, want := range map[int]int{2022: 251, 2023: 250, 2024: 252, 2025: 250, 2026: 251, 2027: 251} {
		if got := count(year); got != want {
			t.Errorf("%d has %d trade dates, want %d", year, got, want)
		}
	}
	if got := s.NextTradeDate(Date{2026, 11, 25}); got != (Date{2026, 11, 27}) {
		t.Errorf("after 25 November 2026 comes %s", got)
	}
	if got := s.TradeDateEnd(Date{2026, 11, 27}); !got.Equal(ny(t, "2026-11-27 17:00")) {
		t.Errorf("the trade date of 27 November ends %s", got)
	}
	if s.Covers(Date{2028, 1, 3}) || !s.Covers(Date{2027, 12, 31}) {
		t.Error("the covered years are not those listed")
	}
}

// The holidays must be those on which the market really was closed: against the days that SPY has a close.
func TestAgainstRealCloses(t *testing.T) {
	const path = "../../../shared/data/equities/daily_close/SPY.csv"
	f, err := os.Open(path)
	if err != nil {
		t.Skipf("real closes are not here: %v", err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	traded := map[Date]bool{}
	for _, r := range rows[1:] {
		d, err := ParseDate(r[0])
		if err != nil {
			t.Fatal(err)
		}
		traded[d] = true
	}
	s := us(t)
	for d := (Date{2022, 1, 1}); d.Before(Date{2026, 8, 3}); d = d.AddDays(1) {
		if s.IsTradeDate(d) != traded[d] {
			t.Errorf("%s: calendar says %v, SPY says %v", d, s.IsTradeDate(d), traded[d])
		}
	}
}

func TestAlways(t *testing.T) {
	a, err := NewAlways()
	if err != nil {
		t.Fatal(err)
	}
	sunday := ny(t, "2026-11-22 23:30")
	x := a.At(sunday)
	if x.Kind != Regular || x.TradeDate != (Date{2026, 11, 22}) || !x.Open.Equal(ny(t, "2026-11-22 00:00")) || !x.Close.Equal(ny(t, "2026-11-23 00:00")) {
		t.Errorf("Sunday night is %+v", x)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"zone":     {"America/New_York", "America/Nowhere", "timezone"},
		"kind":     {"kind: pre", "kind: lunch", "lunch"},
		"overlap":  {`{kind: regular, open: "09:30"`, `{kind: regular, open: "09:00"`, "overlaps"},
		"time":     {`open: "04:00"`, `open: "4 am"`, "4 am"},
		"key":      {"early_closes:", "early_close:", "early_close"},
		"both":     {"2022-11-25, 2023", "2022-11-24, 2023", "holiday and an early close"},
		"order":    {"from: 2026-12-07", "from: 2021-12-07", "order"},
		"backward": {`close: "20:00"`, `close: "15:00"`, "ends before"},
	} {
		text := strings.Replace(string(usEquities), c.old, c.new, 1)
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	if _, err := ParseDate("20261122"); err == nil {
		t.Error("a date without dashes is taken")
	}
}

// A calendar of one's own may count seconds and trade on weekends: simulated days are short.
func TestParseSecondsAndWeekends(t *testing.T) {
	s, err := Parse([]byte(`
timezone: America/New_York
years: {from: 2026, to: 2026}
weekends: true
regimes:
  - from: 2026-01-01
    sessions: [{kind: pre, open: "-1 23:59:50", close: "00:00:10"}, {kind: regular, open: "00:00:10", close: "00:00:40"}]
    early: [{kind: regular, open: "00:00:10", close: "00:00:20"}]
`))
	if err != nil {
		t.Fatal(err)
	}
	saturday := Date{2026, 11, 28}
	at := s.Midnight(saturday).Add(-5 * time.Second)
	if got := s.At(at); got.Kind != Pre || got.TradeDate != saturday || got.Close.Sub(got.Open) != 20*time.Second {
		t.Errorf("session %+v, want the 20 s before the opening of %s", got, saturday)
	}
	if got := s.TradeDateEnd(saturday); got != s.Midnight(saturday).Add(40*time.Second) {
		t.Errorf("the date ends %s", got)
	}
}
