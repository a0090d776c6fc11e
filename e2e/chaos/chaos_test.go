//go:build linux

package chaos

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	RunChildIfRequested()
	m.Run()
}

// TestShort is the short form of `make chaos`: a fault of each family on the real processes, and then proof that the harness would have seen
// a row that is lost, doubled, altered or made up.
func TestShort(t *testing.T) {
	if testing.Short() {
		t.Skip("three nats-servers, the engine and landers as processes of their own: half a minute")
	}
	t.Parallel()
	cfg := DefaultConfig()
	cfg.Binary, cfg.Out, cfg.Mounts, cfg.Landers, cfg.CheckEvery, cfg.Rate = "../../bin/hashpivot", testLog{t}, false, 2, 0, 300
	cfg.ReadTimeout = 1500 * time.Millisecond
	ms := time.Millisecond
	cfg.Script = []Fault{
		{Kind: LateAnswer, On: landerName(1), And: engineName, Hold: 3 * time.Second},
		{Kind: Kill, On: landerName(0), Gap: 200 * ms},
		{Kind: Kill, On: leaderName, Gap: 300 * ms},
		{Kind: Kill, On: engineName, Gap: 300 * ms},
		{Kind: Pause, On: landerName(0), Gap: 700 * ms, Hold: 3500 * ms},
		{Kind: Cut, On: nodeName(0), And: nodeName(2), Gap: 200 * ms, Hold: time.Second},
		{Kind: Kill, On: loadName, Gap: 200 * ms},
		{Kind: TooManyParts, On: engineName, Gap: 300 * ms, Hold: time.Second},
		{Kind: HalfOpen, On: landerName(0), And: engineName, Gap: 200 * ms, Hold: time.Second},
		{Kind: Torn, On: landerName(1), And: engineName, By: 5000, Gap: 200 * ms, Hold: time.Second},
		{Kind: Kill, On: nodeName(1), Gap: 200 * ms},
		{Kind: Kill, On: landerName(1), Gap: 200 * ms},
	}
	cfg.then = func(ctx context.Context, s *system) error {
		for _, spoil := range []string{
			"ALTER TABLE trades DELETE WHERE source = 'sim-chaos-1' AND trade_id = '20' SETTINGS mutations_sync = 2",
			"INSERT INTO trades SELECT * FROM trades WHERE source = 'sim-chaos-1' AND trade_id = '21' SETTINGS insert_deduplicate = 0, asterisk_include_alias_columns = 0",
			"ALTER TABLE quotes UPDATE bid_price_usd = 1 WHERE source = 'sim-chaos-1' AND event_time = toDateTime64('2026-11-03 14:30:00.028', 9, 'UTC') SETTINGS mutations_sync = 2",
		} {
			if _, err := s.sql(ctx, spoil, database); err != nil {
				return err
			}
		}
		acked, err := readTold(s.path("told"))
		if err != nil {
			return err
		}
		v, err := s.judge(ctx, acked)
		if err != nil {
			return err
		}
		if v.Lost != 1 || v.Doubled != 1 || v.Altered != 1 || v.Strange != 0 {
			return fmt.Errorf("one event was deleted, one doubled, one altered; the harness sees %+v", v)
		}
		a, err := s.audit(ctx)
		if a.Lost != 1 || a.Duplicates != 1 || a.Altered != 1 {
			return fmt.Errorf("one event was deleted, one doubled, one altered; the audit sees %d, %d and %d (%w)", a.Lost, a.Duplicates, a.Altered, err)
		}
		return nil
	}
	rep, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatalf("%v\n%s", err, rep.JSON())
	}
	t.Log(rep.JSON())
	if rep.Kills != 6 || rep.Other != len(cfg.Script)-6 || rep.Acknowledged == 0 || rep.Dead == 0 {
		t.Errorf("%d kills, %d other faults, %d acknowledged, %d dead", rep.Kills, rep.Other, rep.Acknowledged, rep.Dead)
	}
}

// testLog writes the story of a run into a test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// TestASeedIsASchedule: the same seed gives the same faults, another one others, and every kind comes.
func TestASeedIsASchedule(t *testing.T) {
	faults := func(seed uint64) (out []Fault) {
		s := newSchedule(seed, 2, false)
		for range 700 {
			out = append(out, s.next())
		}
		return out
	}
	first, killed, kinds := faults(7), 0, map[string]bool{}
	if !reflect.DeepEqual(first, faults(7)) || reflect.DeepEqual(first, faults(8)) {
		t.Error("the schedule is not a function of the seed")
	}
	for _, f := range first {
		kinds[f.Kind] = true
		if kills(f.Kind) {
			killed++
		}
	}
	if killed < 400 || killed > 600 || len(kinds) != 14 {
		t.Errorf("%d kills of 700 faults, kinds %v", killed, kinds)
	}
}

// TestEventsSayWhoTheyAre: a row tells the number of its event, whatever its kind and month.
func TestEventsSayWhoTheyAre(t *testing.T) {
	for n := range 3000 {
		ev := event(3, n)
		if got := numberOf(ev.GetMeta().EventTime); got != n {
			t.Fatalf("event %d says that it is %d", n, got)
		}
		if err := ev.Validate(); (err != nil) != (kindOf(n) == kindDead) {
			t.Fatalf("event %d: %v", n, err)
		}
	}
}
