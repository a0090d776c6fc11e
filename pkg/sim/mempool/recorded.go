package mempool

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
)

// recording serves real figures in the wire's formats. Blocks are not recorded: there are daily sums, retargets and snapshots.
type recording struct {
	list      []retarget
	daily     []dayRow
	priceList []price
	snapshots []snapshot
}

// snapshot is one line of mempool_snapshots: what it does not know is absent.
type snapshot struct {
	at     time.Time
	usd    int64 // 0: unknown
	height int64 // 0: unknown
	fees   *fees
}

const day = 24 * time.Hour

// anchor is the block that dates all heights: the halving of 20 April 2024, first block of that day.
const anchorHeight = 840000

func anchorDay() time.Time { return time.Date(2024, 4, 20, 0, 0, 0, 0, time.UTC) }

func load(dir string) (*recording, error) {
	dir = filepath.Join(dir, "network")
	coin, err := wire.ReadCSV(filepath.Join(dir, "btc_coinmetrics_daily.csv"), "time", "PriceUSD", "HashRate", "IssTotUSD", "FeeTotNtv")
	if err != nil {
		return nil, err
	}
	diffs, err := wire.ReadCSV(filepath.Join(dir, "difficulty_retargets.csv"), "date", "difficulty")
	if err != nil {
		return nil, err
	}
	days, err := readDays(coin)
	if err != nil {
		return nil, err
	}
	r := &recording{}
	if r.list, err = findRetargets(days, diffs); err != nil {
		return nil, err
	}
	for _, d := range days {
		mid := d.first + (d.blocks-1)/2
		fees := int64(math.Round(d.feesBTC * satPerBTC / float64(d.blocks)))
		r.daily = append(r.daily, dayRow{
			height: mid, time: d.at.Unix() + 43200, fees: fees,
			rewards: fees + int64(math.Round(d.issuedBTC*satPerBTC/float64(d.blocks))),
		})
		// Coin Metrics' price of a day is the one at its end.
		r.priceList = append(r.priceList, price{Time: d.at.Add(day).Unix(), USD: d.usd})
	}
	names, err := filepath.Glob(filepath.Join(dir, "mempool_snapshots_*.csv"))
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := r.readSnapshots(name); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// coinDay is one row of Coin Metrics with what follows from it. HashRate of a day is blocks * difficulty * 2^32 / 86400, issuance is
// blocks * subsidy: so both blocks and difficulty can be had back.
type coinDay struct {
	at                      time.Time
	usd, feesBTC, issuedBTC float64
	blocks                  int64
	difficulty              float64 // mean over the day's blocks
	first                   int64   // height of its first block
}

func readDays(rows []map[string]string) ([]coinDay, error) {
	days := make([]coinDay, 0, len(rows))
	hashrates := make([]float64, 0, len(rows))
	for i, row := range rows {
		at, err := time.Parse(time.DateOnly, row["time"])
		var f [4]float64
		for j, k := range []string{"PriceUSD", "HashRate", "IssTotUSD", "FeeTotNtv"} {
			v, perr := strconv.ParseFloat(row[k], 64)
			f[j], err = v, errors.Join(err, perr)
		}
		if err == nil && (f[0] <= 0 || f[1] <= 0 || f[2] <= 0 || f[3] < 0) {
			err = errors.New("it is not above 0")
		}
		if err != nil {
			return nil, fmt.Errorf("read btc_coinmetrics_daily.csv, row %d (%s): a figure is missing or impossible: %w", i+2, row["time"], err)
		}
		d := coinDay{at: at, usd: f[0], feesBTC: f[3], issuedBTC: f[2] / f[0]}
		subsidy := 12.5
		if !at.Before(time.Date(2020, 5, 11, 0, 0, 0, 0, time.UTC)) {
			subsidy = 6.25
		}
		if !at.Before(anchorDay()) {
			subsidy = 3.125
		}
		d.blocks = int64(math.Round(d.issuedBTC / subsidy))
		d.difficulty = f[1] * 1e12 * 86400 / (float64(d.blocks) * (1 << 32))
		days, hashrates = append(days, d), append(hashrates, f[1])
	}
	// A halving inside a day (11 May 2020), or subsidy that was not claimed (19 April 2024), makes the count wrong, and shows as a day whose
	// difficulty differs while its neighbours agree. Their difficulty then gives the count.
	for i := 1; i+1 < len(days); i++ {
		if same(days[i-1].difficulty, days[i+1].difficulty) && !same(days[i].difficulty, days[i-1].difficulty) {
			d := days[i-1].difficulty
			days[i].blocks = int64(math.Round(hashrates[i] * 1e12 * 86400 / (d * (1 << 32))))
			days[i].difficulty = hashrates[i] * 1e12 * 86400 / (float64(days[i].blocks) * (1 << 32))
		}
	}
	return days, nil
}

// same allows for the noise of the published figures, a few parts in 10^9; the smallest retarget is 10^4 times larger.
func same(a, b float64) bool { return math.Abs(a/b-1) < 1e-6 }

// findRetargets finds the days on which the difficulty changed, at which block and so at what time of the day, and puts heights to all days.
// Difficulties that difficulty_retargets.csv knows are taken from there, as are retargets after the last day.
func findRetargets(days []coinDay, known []map[string]string) ([]retarget, error) {
	exact := make([]float64, 0, len(known))
	for i, row := range known {
		d, err := strconv.ParseFloat(row["difficulty"], 64)
		if err != nil || d <= 0 {
			return nil, fmt.Errorf("read difficulty_retargets.csv, row %d: difficulty %q", i+2, row["difficulty"])
		}
		exact = append(exact, d)
	}
	snap := func(d float64) float64 {
		for _, e := range exact {
			if same(d, e) {
				return e
			}
		}
		return math.Round(d*100) / 100
	}
	at := slices.IndexFunc(days, func(d coinDay) bool { return d.at.Equal(anchorDay()) })
	if at < 0 {
		return nil, fmt.Errorf("btc_coinmetrics_daily.csv lacks %s, which dates the heights", anchorDay().Format(time.DateOnly))
	}
	setHeights(days, at, anchorHeight)

	var out []retarget
	for i := 1; i < len(days); i++ {
		before, after := days[i-1].difficulty, days[i].difficulty
		if same(before, after) {
			continue
		}
		// days[i] is the day of the change: all of it has the new difficulty, or it is a mixture and the next day has the new one.
		share := 0.0 // of the day's blocks before the change
		if i+1 < len(days) && !same(days[i+1].difficulty, after) {
			next := days[i+1].difficulty
			share = min(max((after-next)/(before-next), 0), 1)
			after = next
		}
		block := int64(math.Round(share * float64(days[i].blocks)))
		height := int64(math.Round(float64(days[i].first+block)/2016)) * 2016
		setHeights(days, i, height-block)
		out = append(out, retarget{
			time:   days[i].at.Unix() + int64(share*86400),
			height: height, difficulty: snap(after), ratio: snap(after) / snap(before),
		})
		if share > 0 {
			i++ // the next day is wholly of the new difficulty
		}
	}
	if len(out) == 0 {
		return nil, errors.New("btc_coinmetrics_daily.csv has no change of difficulty")
	}
	out = append(out, later(out[len(out)-1], known, exact)...)
	return prepend(days, out, snap), nil
}

// prepend adds the period that was under way when the recording begins. Its start is before the first day; ten minutes a block date it.
func prepend(days []coinDay, out []retarget, snap func(float64) float64) []retarget {
	d0, first := days[0], out[0]
	before := d0.difficulty
	if day1 := days[0].at.Add(day).Unix(); first.time == day1 && first.height < d0.first+d0.blocks {
		// The change was inside the first day, whose figure is a mixture: the heights tell where, and so what was before.
		share := float64(first.height-d0.first) / float64(d0.blocks)
		before = (d0.difficulty - (1-share)*first.difficulty) / share
		out[0].time = d0.at.Unix() + int64(share*86400)
	}
	out[0].ratio = out[0].difficulty / snap(before)
	old := retarget{time: out[0].time - 2016*600, height: first.height - 2016, difficulty: snap(before), ratio: 1}
	return slices.Insert(out, 0, old)
}

// setHeights counts heights from one day whose first block is known, to both sides.
func setHeights(days []coinDay, at int, height int64) {
	days[at].first = height
	for i := at + 1; i < len(days); i++ {
		days[i].first = days[i-1].first + days[i-1].blocks
	}
	for i := at - 1; i >= 0; i-- {
		days[i].first = days[i+1].first - days[i].blocks
	}
}

// later are the known retargets after the last one; their time of day is not recorded.
func later(last retarget, known []map[string]string, exact []float64) []retarget {
	var out []retarget
	for i, row := range known {
		at, err := time.Parse(time.DateOnly, row["date"])
		if err != nil || at.Unix() < last.time+5*86400 {
			continue
		}
		last = retarget{time: at.Unix(), height: last.height + 2016, difficulty: exact[i], ratio: exact[i] / last.difficulty}
		out = append(out, last)
	}
	return out
}

func (r *recording) readSnapshots(name string) error {
	rows, err := wire.ReadCSV(name, "generated_at", "btc_price_usd", "block_height", "fastest_fee", "half_hour_fee", "hour_fee", "economy_fee", "minimum_fee")
	if err != nil {
		return err
	}
	for i, row := range rows {
		at, err := time.Parse(time.RFC3339Nano, row["generated_at"])
		if err != nil {
			return fmt.Errorf("read %s, row %d: %w", filepath.Base(name), i+2, err)
		}
		s := snapshot{at: at.UTC(), usd: whole(row["btc_price_usd"]), height: whole(row["block_height"])}
		f := fees{whole(row["fastest_fee"]), whole(row["half_hour_fee"]), whole(row["hour_fee"]), whole(row["economy_fee"]), whole(row["minimum_fee"])}
		if f.Fastest > 0 && f.HalfHour > 0 && f.Hour > 0 && f.Economy > 0 && f.Minimum > 0 {
			s.fees = &f
		}
		r.snapshots = append(r.snapshots, s)
	}
	slices.SortStableFunc(r.snapshots, func(a, b snapshot) int { return a.at.Compare(b.at) })
	return nil
}

func whole(s string) int64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return int64(math.Round(f))
}

// play sends the snapshots to a client, then says that this is all.
func (r *recording) play(ctx context.Context, c *wire.Client) {
	for _, s := range r.snapshots {
		m := map[string]any{}
		if s.usd > 0 {
			m["conversions"] = conversions(s.at.Unix(), s.usd)
		}
		if s.fees != nil {
			m["fees"] = s.fees
		}
		if s.height > 0 {
			m["da"] = r.adjustmentAt(s.height, s.at)
		}
		if len(m) == 0 {
			continue
		}
		if ctx.Err() != nil || !c.SendWait(encode(m)) {
			return
		}
	}
	c.CloseWith(1000, "end of recording")
}

// adjustmentAt says what follows from height and time; ten minutes a block stand for the pace, which is not recorded.
func (r *recording) adjustmentAt(height int64, at time.Time) adjustment {
	a := newAdjustment(height, 600_000, at.Unix())
	for _, t := range r.list {
		if t.height == a.NextRetargetHeight-2016 {
			change := (t.ratio - 1) * 100
			a.PreviousRetarget, a.PreviousTime = &change, t.time
		}
	}
	return a
}

func (r *recording) tip(time.Time) (int64, bool)    { return 0, false }
func (r *recording) blocks(int64, int) []block      { return []block{} }
func (r *recording) retargets(time.Time) []retarget { return r.list }
func (r *recording) days(time.Time) []dayRow        { return r.daily }
func (r *recording) prices(time.Time) []price       { return r.priceList }

func (r *recording) adjustment(time.Time) (adjustment, bool) {
	for i := len(r.snapshots) - 1; i >= 0; i-- {
		if s := r.snapshots[i]; s.height > 0 {
			return r.adjustmentAt(s.height, s.at), true
		}
	}
	return adjustment{}, false
}

func (r *recording) fees(time.Time) fees {
	for i := len(r.snapshots) - 1; i >= 0; i-- {
		if f := r.snapshots[i].fees; f != nil {
			return *f
		}
	}
	return fees{Fastest: 1, HalfHour: 1, Hour: 1, Economy: 1, Minimum: 1}
}

func (r *recording) usd(time.Time) (int64, bool) {
	for i := len(r.snapshots) - 1; i >= 0; i-- {
		if u := r.snapshots[i].usd; u > 0 {
			return u, true
		}
	}
	return 0, false
}
