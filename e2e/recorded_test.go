package e2e

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

type balance struct {
	Streams    map[string]struct{ Published, Landed, Dead, Pending uint64 }
	Lost       uint64
	Duplicates uint64
	Seconds    float64
}

func lastLine(t testing.TB, out string) balance {
	t.Helper()
	all := strings.Split(strings.TrimSpace(out), "\n")
	var b balance
	if err := json.Unmarshal([]byte(all[len(all)-1]), &b); err != nil {
		t.Fatalf("last line %q: %v", all[len(all)-1], err)
	}
	return b
}

func recorded(data, dir string) []string {
	return []string{"up", "--recorded", data, "--until-drained", "--data-dir", dir, "--free-ports"}
}

// identities are queries that count facts told twice: each must answer 0.
var identities = map[string]string{
	"bars":       "count() - uniqExact(source, symbol, interval, event_time, rev)",
	"hashprice":  "count() - uniqExact(source, method, event_time, rev)",
	"btc_blocks": "count() - uniqExact(source, height, hash)",
	"gpu_rates":  "count() - uniqExact(source, gpu, class, method, event_time, rev)",
	"gpu_offers": "count() - uniqExact(source, offer_id, class, action, event_time)",
	"btc_fees":   "count() - uniqExact(source, event_time)",
}

func checkIdentities(t *testing.T, dir string) {
	t.Helper()
	var parts []string
	for table, expr := range identities {
		parts = append(parts, "SELECT '"+table+"' AS name, "+expr+" AS n FROM "+table)
	}
	// In one query: each opens the directory.
	for _, r := range query(t, dir, strings.Join(parts, " UNION ALL ")) {
		if n := fmt.Sprint(r["n"]); n != "0" {
			t.Errorf("%s: %s facts stand twice", r["name"], n)
		}
	}
}

// TestRecordedTwice: all recordings land once, a second run into the same directory adds nothing, and every recorded day is there.
func TestRecordedTwice(t *testing.T) {
	t.Parallel()
	data, dir := recordings(t), t.TempDir()
	code, out, errs := run(t, 3*time.Minute, recorded(data, dir)...)
	if code != 0 {
		t.Fatalf("code %d\n%s", code, errs)
	}
	first := lastLine(t, out)
	code, out, errs = run(t, 3*time.Minute, recorded(data, dir)...)
	if code != 0 {
		t.Fatalf("second run: code %d\n%s", code, errs)
	}
	second := lastLine(t, out)
	for name, s := range second.Streams {
		if s.Landed+s.Dead != s.Published || s.Pending != 0 {
			t.Errorf("%s: %+v", name, s)
		}
		if was := first.Streams[name]; name != "FEEDS" && s != was {
			t.Errorf("%s: %+v after the second run, %+v after the first", name, s, was)
		}
	}
	if second.Lost != 0 || second.Duplicates != 0 || first.Seconds <= 0 {
		t.Errorf("first %+v, second %+v", first, second)
	}
	checkIdentities(t, dir)
	if n := one(t, dir, "SELECT count() AS n FROM bars WHERE source NOT LIKE 'rec-%'"); n != "0" {
		t.Errorf("%s recorded bars are not marked", n)
	}
	everyDay(t, data, dir)
	agrees(t, data, dir)
	code, out, errs = run(t, time.Minute, "audit", "--json", "--data-dir", dir)
	if code != 0 || !strings.Contains(out, `"lost":0,"duplicates":0`) {
		t.Errorf("audit: code %d %s %s", code, out, errs)
	}
}

// everyDay compares the days of each recording with those in ClickHouse.
func everyDay(t *testing.T, data, dir string) {
	t.Helper()
	have := days(t, dir,
		"symbol", "toDate(event_time, 'America/New_York')", "bars WHERE interval = '1d' AND symbol != 'BTC-USD'",
		"'BTC-USD'", "toDate(event_time)", "bars WHERE interval = '1d' AND symbol = 'BTC-USD'",
		"'hashprice'", "toDate(event_time)", "hashprice WHERE method = 'daily'",
		"'GPU medians'", "toDate(event_time)", "gpu_rates WHERE method = 'vast-metrics-median'",
		"'GPU offers'", "toDate(event_time)", "gpu_offers")
	files, err := filepath.Glob(filepath.Join(data, "equities", "daily_close", "*.csv"))
	if err != nil || len(files) == 0 {
		t.Fatal("no daily closes", err)
	}
	for _, f := range files {
		symbol := strings.TrimSuffix(filepath.Base(f), ".csv")
		missing(t, symbol, column(t, f, "Date"), have[symbol])
	}
	missing(t, "BTC-USD", column(t, filepath.Join(data, "network", "btc_usd_daily_ohlcv.csv"), "date"), have["BTC-USD"])
	missing(t, "hashprice", column(t, filepath.Join(data, "network", "btc_coinmetrics_daily.csv"), "time"), have["hashprice"])
	missing(t, "GPU medians", column(t, filepath.Join(data, "gpu", "vast_runpod_daily_2026-06_2026-08.csv"), "date"), have["GPU medians"])
	missing(t, "GPU offers", []string{"2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02", "2026-03-03"}, have["GPU offers"])
}

func missing(t *testing.T, what string, want []string, have map[string]bool) {
	t.Helper()
	var none []string
	for _, d := range want {
		if !have[d] {
			none = append(none, d)
		}
	}
	if len(none) > 0 {
		t.Errorf("%s: %d of %d recorded days are not in ClickHouse, the first %s", what, len(none), len(want), none[0])
	}
}

// days are the days of several selections, each of a name, a date and where from, by name. They are one query, since each opens the directory.
func days(t *testing.T, dir string, of ...string) map[string]map[string]bool {
	t.Helper()
	var parts []string
	for s := range slices.Chunk(of, 3) {
		parts = append(parts, "SELECT DISTINCT toString("+s[0]+") AS name, toString("+s[1]+") AS d FROM "+s[2])
	}
	out := map[string]map[string]bool{}
	for _, r := range query(t, dir, strings.Join(parts, " UNION ALL ")) {
		name := fmt.Sprint(r["name"])
		if out[name] == nil {
			out[name] = map[string]bool{}
		}
		out[name][fmt.Sprint(r["d"])] = true
	}
	return out
}

func table(t testing.TB, file string) (map[string]int, [][]string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) < 2 {
		t.Fatalf("%s: %d rows, %v", file, len(rows), err)
	}
	at := map[string]int{}
	for i, name := range rows[0] {
		at[name] = i
	}
	return at, rows[1:]
}

func column(t testing.TB, file, name string) []string {
	t.Helper()
	at, rows := table(t, file)
	var out []string
	for _, r := range rows {
		out = append(out, r[at[name]])
	}
	return out
}

// agrees holds our daily hashprice against CoinMetrics' income and hashrate on the days between retargets.
func agrees(t *testing.T, data, dir string) {
	t.Helper()
	type day struct{ usd, difficulty float64 }
	ours := map[string]day{}
	for _, r := range query(t, dir, "SELECT toString(toDate(event_time)) AS d, toFloat64(hashprice_usd) AS usd, toFloat64(difficulty) AS difficulty FROM hashprice WHERE method = 'daily'") {
		usd, err1 := strconv.ParseFloat(fmt.Sprint(r["usd"]), 64)
		diff, err2 := strconv.ParseFloat(fmt.Sprint(r["difficulty"]), 64)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		ours[fmt.Sprint(r["d"])] = day{usd, diff}
	}
	at, rows := table(t, filepath.Join(data, "network", "btc_coinmetrics_daily.csv"))
	num := func(r []string, name string) float64 {
		v, err := strconv.ParseFloat(r[at[name]], 64)
		if err != nil {
			return math.NaN()
		}
		return v
	}
	compared, worst, worstDay, sum := 0, 0.0, "", 0.0
	for i, r := range rows {
		if i == 0 || i == len(rows)-1 {
			continue
		}
		d := r[at["time"]]
		before, mine, after := ours[rows[i-1][at["time"]]], ours[d], ours[rows[i+1][at["time"]]]
		if mine.difficulty == 0 || mine.difficulty != before.difficulty || mine.difficulty != after.difficulty {
			continue // a retarget falls on the day or beside it
		}
		theirs := (num(r, "IssTotUSD") + num(r, "FeeTotNtv")*num(r, "PriceUSD")) / (num(r, "HashRate") / 1e3)
		if math.IsNaN(theirs) {
			continue
		}
		off := math.Abs(mine.usd/theirs - 1)
		compared++
		sum += off
		if off > worst {
			worst, worstDay = off, d
		}
	}
	t.Logf("daily hashprice against CoinMetrics: %d days between retargets, mean deviation %.4f %%, worst %.3f %% on %s",
		compared, 100*sum/float64(compared), 100*worst, worstDay)
	if compared < 1500 || worst > 0.01 {
		t.Errorf("compared %d days, worst deviation %.3f %% on %s; want at least 1500 days within 1 %%", compared, 100*worst, worstDay)
	}
}

// TestKilledTwentyTimes: kill -9 of the whole process tree at random moments of a recorded run costs nothing and doubles nothing.
func TestKilledTwentyTimes(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the long way; TestRecordedTwice is the short one")
	}
	const times = 20
	data, dir := recordings(t), t.TempDir()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for i := range times {
		p := start(t, nil, recorded(data, dir)...)
		after := time.Duration(rnd.Int64N(int64(4 * time.Second)))
		select {
		case <-p.done: // it was done before it could be killed, and must have been clean
			if code := p.cmd.ProcessState.ExitCode(); code != 0 {
				t.Fatalf("run %d: code %d\n%s", i, code, p.stderr.text())
			}
		case <-time.After(after):
			p.kill()
		}
	}
	code, out, errs := run(t, 3*time.Minute, recorded(data, dir)...)
	if code != 0 {
		t.Fatalf("after the kills: code %d\n%s\n%s", code, out, errs)
	}
	b := lastLine(t, out)
	if b.Lost != 0 || b.Duplicates != 0 {
		t.Errorf("after the kills: %+v", b)
	}
	checkIdentities(t, dir)

	// What landed is what a run without kills lands.
	calm := t.TempDir()
	if code, out, errs = run(t, 3*time.Minute, recorded(data, calm)...); code != 0 {
		t.Fatalf("calm run: code %d\n%s", code, errs)
	}
	want := lastLine(t, out)
	for _, name := range []string{"BARS", "HASHPRICE", "OFFERS", "RATES"} {
		if b.Streams[name].Landed != want.Streams[name].Landed {
			t.Errorf("%s: %d landed after the kills, %d without", name, b.Streams[name].Landed, want.Streams[name].Landed)
		}
	}
	if t.Failed() { // what differs
		for what, dir := range map[string]string{"after the kills": dir, "without": calm} {
			for _, sql := range []string{
				"SELECT 'offers' AS what, source, event_time, action, count() AS n, min(stream_seq) AS first, max(stream_seq) AS last FROM gpu_offers GROUP BY ALL ORDER BY event_time, source, action",
				"SELECT 'rates' AS what, source, method, event_time, count() AS n FROM gpu_rates WHERE method LIKE '%wmedian' GROUP BY ALL ORDER BY event_time, source, method",
				"SELECT 'gap' AS what, source, symbol, state, from_time, to_time, reason FROM feed_gaps WHERE source LIKE '%vast%' ORDER BY stream_seq, idx",
			} {
				for _, row := range query(t, dir, sql) {
					t.Logf("%s: %v", what, row)
				}
			}
		}
	}
}
