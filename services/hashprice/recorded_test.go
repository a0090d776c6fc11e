package hashprice

import (
	"context"
	"encoding/csv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/coinbase"
	"github.com/hashpivot/hashpivot/pkg/sim/mempool"
)

// table reads a recording, or skips the test where there are none.
func table(t *testing.T, name string) []map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(recordings, "network", name))
	if os.IsNotExist(err) {
		t.Skipf("no recordings at %s: this test compares with real figures that are not part of the project", recordings)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for _, line := range all[1:] {
		row := map[string]string{}
		for i, c := range all[0] {
			row[c] = line[i]
		}
		rows = append(rows, row)
	}
	return rows
}

func float(t *testing.T, s string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The daily hashprice against Coin Metrics' figures: (issuance + fees) in dollars over the hashrate, which is an independent way to the same
// number. On days with a retarget Coin Metrics' hashrate weighs by blocks and ours by time, so those are told apart.
func TestRecordedDailyHashpriceAgreesWithCoinMetrics(t *testing.T) {
	t.Parallel()
	rows := table(t, "btc_coinmetrics_daily.csv")
	s := start(t, mempool.Config{Dir: recordings}, coinbase.Config{Dir: recordings})
	s.cfg.StopAtEnd = true
	mem := feedtest.NewMemory()
	deps := feed.Deps{Sink: mem, History: mem}
	began := time.Now()
	if err := Run(t.Context(), s.cfg, deps); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	if dead := feedtest.Of[*market.DeadLetter](mem); len(dead) > 0 {
		t.Errorf("%d dead letters, the first: %s %s %s", len(dead), dead[0].Reason, dead[0].Subject, dead[0].Detail)
	}

	daily := map[string]*market.Hashprice{}
	for _, h := range feedtest.Of[*market.Hashprice](mem) {
		d := h.EventTime.Format(time.DateOnly)
		if _, twice := daily[d]; twice {
			t.Errorf("%s has two hashprices", d)
		}
		daily[d] = h
	}
	var list []retarget
	for _, d := range feedtest.Of[*market.Difficulty](mem) {
		if d.Backfill {
			list = append(list, retarget{At: d.EventTime, Height: d.Height, Difficulty: d.Difficulty})
			if d.Height%retargetBlocks != 0 {
				t.Errorf("a retarget at height %d", d.Height)
			}
		}
	}
	for i := 1; i < len(list); i++ {
		days := list[i].At.Sub(list[i-1].At).Hours() / 24
		if list[i].Height != list[i-1].Height+retargetBlocks || days < 10 || days > 20 {
			t.Errorf("retarget at %d on %s follows %d on %s", list[i].Height, list[i].At, list[i-1].Height, list[i-1].At)
		}
	}

	var sum, worst float64
	var worstDay string
	compared, excluded := 0, 0
	var worstExcluded float64
	for _, row := range rows {
		h, ok := daily[row["time"]]
		if !ok {
			t.Errorf("no hashprice for %s", row["time"])
			continue
		}
		price := float(t, row["PriceUSD"])
		want := (float(t, row["IssTotUSD"]) + float(t, row["FeeTotNtv"])*price) / (float(t, row["HashRate"]) / 1000)
		got, _ := h.HashpriceUSD.Float64()
		dev := math.Abs(got/want - 1)
		_, constant, _ := difficultyOver(list, h.EventTime, h.EventTime.Add(day))
		if !constant {
			excluded++
			worstExcluded = max(worstExcluded, dev)
			continue
		}
		compared++
		sum += dev
		if dev > worst {
			worst, worstDay = dev, row["time"]
		}
		if dev > 0.01 {
			t.Errorf("%s: %.4f USD/PH/day, Coin Metrics says %.4f: off by %.2f %%", row["time"], got, want, 100*dev)
		}
	}
	t.Logf("compared %d days: worst %.6f %% (%s), mean %.7f %%; excluded %d retarget days (worst %.3f %%); %d events in %s",
		compared, 100*worst, worstDay, 100*sum/float64(compared), excluded, 100*worstExcluded, mem.Len(), took.Round(time.Millisecond))
	if compared < 2100 || excluded > 200 {
		t.Errorf("compared %d days and excluded %d", compared, excluded)
	}

	// Halvings: the heights of the days about them, and the mixed subsidy of 11 May 2020.
	for d, want := range map[string][2]uint64{"2020-05-11": {629900, 630010}, "2020-05-12": {630030, 630160}, "2024-04-19": {839860, 839940}, "2024-04-20": {840050, 840080}} {
		if h := daily[d]; h == nil || h.Height < want[0] || h.Height > want[1] {
			t.Errorf("%s: height %d, want within %v", d, daily[d].Height, want)
		}
	}
	for d, want := range map[string][2]int64{"2020-05-10": {1250000000, 1250000000}, "2020-05-11": {1100000000, 1200000000}, "2020-05-12": {625000000, 625000000}, "2024-04-18": {625000000, 625000000}, "2024-04-20": {312500000, 312500000}} {
		if h := daily[d]; h == nil || h.SubsidySat < want[0] || h.SubsidySat > want[1] {
			t.Errorf("%s: subsidy %d sat, want within %v", d, daily[d].SubsidySat, want)
		}
	}
	checkEveryDay(t, mem)

	// A second run over the same streams publishes nothing but its own coming and going.
	n := mem.Len()
	if err := Run(t.Context(), s.cfg, deps); err != nil {
		t.Fatal(err)
	}
	for _, ev := range mem.Events()[n:] {
		if _, ok := ev.(*market.FeedEvent); !ok {
			t.Fatalf("published again: %T %s", ev, ev.Identity())
		}
	}
}

// checkEveryDay checks that each day of each network recording is among the events.
func checkEveryDay(t *testing.T, mem *feedtest.Memory) {
	t.Helper()
	bars, tiers, prices, tips, changes := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[uint64]bool{}, map[string]bool{}
	for _, ev := range mem.Events() {
		d := ev.GetMeta().EventTime.Format(time.DateOnly)
		switch x := ev.(type) {
		case *market.Bar:
			bars[d] = true
		case *market.Fees:
			tiers[d] = true
		case *market.BTCPrice:
			prices[d] = true
		case *market.Difficulty:
			tips[x.Height] = true
			changes[x.Difficulty.Trim(0).String()] = true
		}
	}
	for _, row := range table(t, "btc_usd_daily_ohlcv.csv") {
		if !bars[row["date"]] {
			t.Errorf("no bar for %s", row["date"])
		}
	}
	for _, row := range table(t, "mempool_snapshots_2026-08.csv") {
		d := row["generated_at"][:10]
		if !tiers[d] || !prices[d] {
			t.Errorf("no fees or price for %s", d)
		}
		if h := row["block_height"]; h != "" && !tips[uint64(float(t, h))] {
			t.Errorf("no tip at height %s", h)
		}
	}
	for _, row := range table(t, "difficulty_retargets.csv") {
		if !changes[market.MustDecimal(row["difficulty"]).Trim(0).String()] {
			t.Errorf("no retarget to %s (%s)", row["difficulty"], row["date"])
		}
	}
}

// Killed at any moment and started again, a recorded run ends with exactly the facts of a run that was left alone: each subject has lost what
// a broker may lose of a killed publisher.
func TestKilledAnywhereARecordedRunLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(recordings); os.IsNotExist(err) {
		t.Skipf("no recordings at %s", recordings)
	}
	s := start(t, mempool.Config{Dir: recordings}, coinbase.Config{Dir: recordings})
	cfg := s.cfg
	cfg.StopAtEnd = true
	whole := feedtest.NewMemory()
	if err := Run(t.Context(), cfg, feed.Deps{Sink: whole, History: whole}); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for round := range 1 {
		mem := feedtest.NewMemory()
		for range 4 {

			ctx, kill := context.WithCancel(t.Context())
			sink := feedtest.NewKilled(mem, rng.IntN(whole.Len()), kill)
			_ = Run(ctx, cfg, feed.Deps{Sink: sink, History: mem}) // its error is that it was killed, if it was
			kill()
			mem.Crash(func(n int) int { return rng.IntN(n + 1) })
		}

		if err := Run(t.Context(), cfg, feed.Deps{Sink: mem, History: mem}); err != nil {
			t.Fatal(err)
		}
		missing, extra, doubled := feedtest.Diff(whole, mem)
		if len(missing)+len(extra)+len(doubled) > 0 {
			t.Errorf("round %d: %d facts missing %q, %d too many %q, %d doubled %q", round, len(missing), missing[:min(3, len(missing))],
				len(extra), extra[:min(3, len(extra))], len(doubled), doubled[:min(3, len(doubled))])
		}
	}
}
