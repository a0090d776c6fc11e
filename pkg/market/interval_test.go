package market_test

import (
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

func TestIntervals(t *testing.T) {
	for i, want := range map[market.Interval]time.Duration{
		"1s": time.Second, "5s": 5 * time.Second, "30s": 30 * time.Second, "1m": time.Minute, "5m": 5 * time.Minute, "1h": time.Hour, "4h": 4 * time.Hour, "12h": 12 * time.Hour,
		"1d": 24 * time.Hour,
		// Not even, or not in the greatest unit, or no length at all.
		"7m": 0, "25s": 0, "5h": 0, "60s": 0, "60m": 0, "24h": 0, "2d": 0, "": 0, "m": 0, "0m": 0, "05m": 0, "+5m": 0, "5": 0, "5M": 0, "1w": 0, "100s": 0, "5m ": 0,
	} {
		if got := i.Duration(); got != want {
			t.Errorf("%q lasts %s, want %s", i, got, want)
		}
		if want != 0 && market.IntervalOf(want) != i {
			t.Errorf("%s is the interval %q, want %q", want, market.IntervalOf(want), i)
		}
	}
	for _, d := range []time.Duration{0, -time.Minute, 7 * time.Minute, 90 * time.Second, 1500 * time.Millisecond, 48 * time.Hour} {
		if got := market.IntervalOf(d); got != "" {
			t.Errorf("%s is the interval %q, want none", d, got)
		}
	}
}
