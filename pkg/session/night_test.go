package session

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestOvernightVenues(t *testing.T) {
	s, err := USOvernight()
	if err != nil {
		t.Fatal(err)
	}
	for clock, want := range map[string]struct {
		kind Kind
		date Date
	}{
		"2026-11-23 20:00": {Overnight, Date{2026, 11, 24}},
		"2026-11-24 03:59": {Overnight, Date{2026, 11, 24}},
		"2026-11-24 04:00": {Closed, Date{2026, 11, 25}},
		"2026-11-25 21:00": {Closed, Date{2026, 11, 27}}, // Thanksgiving
		"2026-11-26 21:00": {Overnight, Date{2026, 11, 27}},
		"2026-11-27 21:00": {Closed, Date{2026, 11, 30}}, // Friday
		"2026-11-29 20:30": {Overnight, Date{2026, 11, 30}},
	} {
		if got := s.At(ny(t, clock)); got.Kind != want.kind || got.TradeDate != want.date {
			t.Errorf("%s is %s of %s, want %s of %s", clock, got.Kind, got.TradeDate, want.kind, want.date)
		}
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "calendar.yaml")
	if _, err := Load(path); err == nil {
		t.Error("a file that is not there was loaded")
	}
	if err := os.WriteFile(path, []byte("timezone: Mars/Olympus\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("a calendar of Mars was loaded")
	}
	if err := os.WriteFile(path, usEquities, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.TradeDateEnd(Date{2026, 12, 24}), ny(t, "2026-12-24 17:00"); !got.Equal(want) {
		t.Errorf("24 December ends at %s, want %s", got, want)
	}
}

// The days that the issue names: early closes, the first 23-hour week, daylight saving.
func TestNamedDays(t *testing.T) {
	s := us(t)
	for clock, want := range map[string]struct {
		kind Kind
		date Date
	}{
		"2026-11-27 12:59": {Regular, Date{2026, 11, 27}}, "2026-11-27 13:00": {After, Date{2026, 11, 27}}, "2026-11-27 17:00": {Closed, Date{2026, 11, 30}},
		"2026-12-24 12:59": {Regular, Date{2026, 12, 24}}, "2026-12-24 13:00": {After, Date{2026, 12, 24}}, "2026-12-24 17:00": {Closed, Date{2026, 12, 28}},
		"2026-12-06 20:59": {Closed, Date{2026, 12, 7}}, "2026-12-06 21:00": {Overnight, Date{2026, 12, 7}}, // Sunday's print is Monday's
		"2026-12-07 03:59": {Overnight, Date{2026, 12, 7}}, "2026-12-07 04:01": {Pre, Date{2026, 12, 7}},
		"2026-12-07 20:00": {Closed, Date{2026, 12, 8}}, "2026-12-07 21:00": {Overnight, Date{2026, 12, 8}},
		"2026-12-11 20:00": {Closed, Date{2026, 12, 14}}, "2026-12-11 21:00": {Closed, Date{2026, 12, 14}}, // no Friday night
		"2026-12-23 21:00": {Overnight, Date{2026, 12, 24}}, "2026-12-24 21:00": {Closed, Date{2026, 12, 28}}, // before a holiday
		"2027-03-14 21:00": {Overnight, Date{2027, 3, 15}}, "2027-03-15 09:30": {Regular, Date{2027, 3, 15}}, // daylight saving has begun
	} {
		if got := s.At(ny(t, clock)); got.Kind != want.kind || got.TradeDate != want.date {
			t.Errorf("%s is %s of %s, want %s of %s", clock, got.Kind, got.TradeDate, want.kind, want.date)
		}
	}
	for _, c := range []struct {
		d    Date
		want string
	}{{Date{2027, 3, 12}, "14:30Z"}, {Date{2027, 3, 15}, "13:30Z"}, {Date{2026, 10, 30}, "13:30Z"}, {Date{2026, 11, 2}, "14:30Z"}} {
		for _, x := range s.Sessions(c.d) {
			if x.Kind == Regular && x.Open.Format("15:04Z") != c.want {
				t.Errorf("%s opens at %s, want %s", c.d, x.Open.Format(time.RFC3339), c.want)
			}
		}
	}
}
