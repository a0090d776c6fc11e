//go:build linux

package chaos

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// verdict compares what the load generator was told is stored with what ClickHouse has, event by event.
type verdict struct {
	Acknowledged int `json:"acknowledged"`
	// Rows in ClickHouse of the load generator's, letters among them.
	Rows int `json:"rows"`
	Dead int `json:"dead"`
	// Unacknowledged were published and not acknowledged when their publisher died, and have landed all the same, which is right.
	Unacknowledged int `json:"unacknowledged"`
	Lost           int `json:"lost"`
	Doubled        int `json:"doubled"`
	// Altered rows have another value than was published; Strange rows were never published.
	Altered int `json:"altered"`
	Strange int `json:"strange"`
	// Examples of what is wrong.
	Examples []string `json:"examples,omitempty"`
}

// wrong is what can never become right again.
func (v verdict) wrong() bool { return v.Doubled+v.Altered+v.Strange > 0 }

func (v *verdict) example(format string, args ...any) {
	if len(v.Examples) < 20 {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// where each kind lands, and the query of its source, time and value.
var landsIn = map[kind]string{
	kindTrade: "SELECT source, toUnixTimestamp64Milli(event_time), toString(price_usd) FROM trades WHERE source LIKE 'sim-chaos-%'",
	kindQuote: "SELECT source, toUnixTimestamp64Milli(event_time), toString(bid_price_usd) FROM quotes WHERE source LIKE 'sim-chaos-%'",
	kindHalt:  "SELECT source, toUnixTimestamp64Milli(event_time), status_text FROM halts WHERE source LIKE 'sim-chaos-%'",
	kindDead:  "SELECT reason, base64Encode(payload) FROM dead_letters WHERE dead_stream = 'TRADES'",
}

// judge reads every row of the load generator's.
func (s *system) judge(ctx context.Context, acked map[int]told) (v verdict, _ error) {
	seen := map[int][]uint8{} // by life, by number: how often
	for life, t := range acked {
		v.Acknowledged += t.acked
		seen[life] = make([]uint8, t.tried)
	}
	// A life that began, or went on, since acked was read.
	later := func(life, n int) bool {
		t, known := acked[life]
		return !known || n >= t.tried
	}
	count := func(k kind, life, n int, value string) {
		v.Rows++
		switch {
		case kindOf(n) != k:
			v.Strange++
			v.example("event %d of life %d is in the table of another kind", n, life)
		case !later(life, n):
			if seen[life][n]++; seen[life][n] > 1 {
				v.Doubled++
				v.example("event %d of life %d stands %d times", n, life, seen[life][n])
			}
		}
		if want := valueOf(k, life, n); value != want {
			v.Altered++
			v.example("event %d of life %d has %s, was published with %s", n, life, value, want)
		}
	}
	for _, k := range []kind{kindTrade, kindQuote, kindHalt} {
		err := s.rows(ctx, landsIn[k], database, func(line string) error {
			f := strings.Split(line, "\t")
			if len(f) != 3 {
				return fmt.Errorf("row %q", line)
			}
			life, err := strconv.Atoi(strings.TrimPrefix(f[0], "sim-chaos-"))
			if err != nil {
				return err
			}
			ms, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return err
			}
			count(k, life, numberOf(time.UnixMilli(ms).UTC()), f[2])
			return nil
		})
		if err != nil {
			return v, fmt.Errorf("read what landed: %w", err)
		}
	}
	err := s.rows(ctx, landsIn[kindDead], database, func(line string) error {
		reason, payload, _ := strings.Cut(line, "\t")
		data, err := base64.StdEncoding.DecodeString(payload)
		if err != nil {
			return err
		}
		events, err := wire.Decode(market.Trades, data)
		if err != nil || len(events) != 1 {
			v.Strange++
			v.example("a letter that holds no event: %v", err)
			return nil
		}
		life, err := strconv.Atoi(strings.TrimPrefix(events[0].GetMeta().Source, "sim-chaos-"))
		if err != nil {
			return err
		}
		v.Dead++
		count(kindDead, life, numberOf(events[0].GetMeta().EventTime), reason)
		return nil
	})
	if err != nil {
		return v, fmt.Errorf("read the dead letters: %w", err)
	}
	for life, t := range acked {
		for n, times := range seen[life] {
			switch {
			case n < t.acked && times == 0:
				v.Lost++
				v.example("event %d of life %d was acknowledged and is nowhere", n, life)
			case n >= t.acked && times > 0:
				v.Unacknowledged++
			}
		}
	}
	return v, nil
}

// valueOf is what the queries above give for an event.
func valueOf(k kind, life, n int) string {
	switch k {
	case kindDead:
		return string(market.ReasonPrice)
	case kindHalt:
		return strconv.Itoa(cents(life, n))
	}
	c := cents(life, n)
	switch {
	case c%100 == 0:
		return strconv.Itoa(c / 100)
	case c%10 == 0:
		return fmt.Sprintf("%d.%d", c/100, c%100/10)
	}
	return fmt.Sprintf("%d.%02d", c/100, c%100)
}
