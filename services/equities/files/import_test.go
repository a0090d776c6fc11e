package files

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func deps(mem *feedtest.Memory) feed.Deps {
	return feed.Deps{Sink: mem, History: mem, Logger: slog.New(slog.DiscardHandler)}
}

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func imported(t testing.TB, mem *feedtest.Memory, path string, edit func(*Options)) Progress {
	t.Helper()
	opt := DefaultOptions()
	if edit != nil {
		edit(&opt)
	}
	p, err := Import(t.Context(), deps(mem), path, opt, nil)
	if err != nil {
		t.Fatalf("import %s: %v", filepath.Base(path), err)
	}
	return p
}

const tradesCSV = "\ufeffTimestamp,Ticker,Price,Size,Exchange,Conditions,ID\n" +
	"2025-11-20T14:30:00.123456789Z,IREN,42.15,100,Q,\"@,F\",7\n" +
	"1763649001000,IREN,42.16,0.5,D,@,8\n" +
	"2025-11-20 09:30:02.5,BRK.B,500,10,N,,9\n" +
	"yesterday,IREN,42.15,100,Q,@,10\n" +
	"2025-11-20T14:30:03Z,IREN,42.15\n" +
	"2025-11-20T14:30:03Z,iren,42.15,1,Q,@,11\n" +
	"2025-11-20T14:30:03Z,IREN,-1,1,Q,@,12\n" +
	"2025-11-20T14:30:03Z,IREN,N/D,1,Q,@,13\n" +
	"2036-11-20T14:30:03Z,IREN,42,1,Q,@,14\n"

func TestTradesAreImportedOnce(t *testing.T) {
	mem, dir := feedtest.NewMemory(), t.TempDir()
	path := write(t, dir, "prints.csv", tradesCSV)
	p := imported(t, mem, path, nil)
	if p.Rows != 9 || p.Published != 3 || p.Rejected != 6 {
		t.Errorf("%+v", p)
	}
	trades := feedtest.Of[*market.Trade](mem)
	if x := trades[0]; x.Source != "files" || !x.Backfill || x.ID != "7" || len(x.Conditions) != 2 || x.EventTime.Nanosecond() != 123456789 || x.Exchange != "Q" {
		t.Errorf("print %+v", x)
	}
	if x := trades[1]; x.SizeShares.String() != "0.5" || x.EventTime.UnixMilli() != 1763649001000 {
		t.Errorf("print %+v", x)
	}
	if x := trades[2]; x.Symbol != "BRK.B" || !x.EventTime.Equal(time.Date(2025, 11, 20, 14, 30, 2, 5e8, time.UTC)) {
		t.Errorf("a wall clock of New York: %+v", x)
	}
	dead := feedtest.Of[*market.DeadLetter](mem)
	lines := map[string]market.Reason{}
	for _, d := range dead {
		lines[d.Subject] = d.Reason
	}
	for line, want := range map[string]market.Reason{
		"prints.csv:5": market.ReasonTime, "prints.csv:6": feed.ReasonMalformed, "prints.csv:7": market.ReasonValue, "prints.csv:8": market.ReasonPrice,
		"prints.csv:9": market.ReasonMissing, "prints.csv:10": market.ReasonFuture,
	} {
		if lines[line] != want {
			t.Errorf("%s is refused as %q, want %s (%v)", line, lines[line], want, lines)
		}
	}
	n := mem.Len()
	if p := imported(t, mem, path, nil); p.Skipped != 1 || p.Published != 0 || mem.Len() != n {
		t.Errorf("again: %+v, %d events more", p, mem.Len()-n)
	}
	// The same prints and one more, in another file.
	more := write(t, dir, "more.csv", tradesCSV+"2025-11-20T14:30:04Z,IREN,42.17,1,Q,@,15\n")
	if p := imported(t, mem, more, nil); p.Published != 1 || p.Known != 3 {
		t.Errorf("an overlapping file: %+v", p)
	}
	gaps := feedtest.Of[*market.FeedGap](mem)
	last := gaps[len(gaps)-1]
	if last.State != market.GapPartly || last.Recovered != 1 || !strings.Contains(last.Reason, "import more.csv ") || !strings.Contains(last.Reason, "6 rows refused") {
		t.Errorf("line %+v", last)
	}
}

// Equal prints without ids are as many prints as there are rows, in any file.
func TestPrintsWithoutIDs(t *testing.T) {
	mem, dir := feedtest.NewMemory(), t.TempDir()
	const lines = `{"time":"2025-11-20T14:30:00Z","price":42.15,"size":100,"conditions":["@","I"]}` + "\n"
	if p := imported(t, mem, write(t, dir, "IREN.jsonl", lines+lines), nil); p.Published != 2 {
		t.Errorf("%+v", p)
	}
	if p := imported(t, mem, write(t, dir, "IREN.2.jsonl", lines+lines+lines+"\n{\n"), nil); p.Published != 1 || p.Known != 2 || p.Rejected != 1 {
		t.Errorf("%+v", p)
	}
}

func TestQuotes(t *testing.T) {
	mem := feedtest.NewMemory()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte(`[{"t":1763649001000000000,"sym":"IREN","bp":42.1,"bs":100,"ap":42.12,"as":200,"bx":"Q","ax":"P","n":null},{"t":1763649002,"sym":"IREN","bp":0,"ap":42.12,"as":200}]`))
	_ = w.Close()
	p := imported(t, mem, write(t, t.TempDir(), "quotes.json.gz", z.String()), nil)
	quotes := feedtest.Of[*market.Quote](mem)
	if p.Published != 2 || quotes[0].BidPriceUSD.String() != "42.1" || quotes[0].AskSizeShares.String() != "200" || quotes[1].EventTime.Unix() != 1763649002 {
		t.Errorf("%+v %+v", p, quotes)
	}
}

const barsCSV = "symbol,time,open,high,low,close,volume\nIREN,2025-11-20 09:30:00,42,43,41,42.5,1000\nIREN,2025-11-20 09:31:00,42.5,43,42,43,500\n"

func TestAChangedBarIsARevision(t *testing.T) {
	mem, dir := feedtest.NewMemory(), t.TempDir()
	path := write(t, dir, "bars.csv", barsCSV)
	if p := imported(t, mem, path, nil); p.Published != 2 || p.Revised != 0 {
		t.Errorf("%+v", p)
	}
	write(t, dir, "bars.csv", strings.Replace(barsCSV, "43,500", "43,501", 1)+"IREN,2025-11-20 09:31:00,42.5,43,42,43,502\nIREN,2025-11-20 09:31:30,1,1,1,1,1\n")
	if p := imported(t, mem, path, nil); p.Published != 1 || p.Revised != 1 || p.Known != 1 || p.Replaced != 1 || p.Rejected != 1 {
		t.Errorf("%+v", p)
	}
	bars := feedtest.Of[*market.Bar](mem)
	if b := bars[2]; b.Rev != 1 || b.Volume.String() != "502" || b.Interval != market.Interval1m || !b.EventTime.Equal(time.Date(2025, 11, 20, 14, 31, 0, 0, time.UTC)) {
		t.Errorf("revision %+v", b)
	}
}

const yahooCSV = "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-24,5.550000190734863,6.099999904632568,3.2799999713897705,3.440000057220459,3.440000057220459,3718500.0\n" +
	"2025-05-14,24.014999389648438,25.170000076293945,23.59000015258789,24.920000076293945,24.920000076293945,17518700\n2025-05-15,,,,,,\n"

func TestYahooDaily(t *testing.T) {
	mem, dir := feedtest.NewMemory(), t.TempDir()
	path := write(t, dir, "CORZ.csv", yahooCSV)
	if _, err := Import(t.Context(), deps(mem), path, DefaultOptions(), nil); !errors.Is(err, errAdjusted) || mem.Len() > 0 {
		t.Errorf("adjusted prices are taken unasked: %v", err)
	}
	yes := func(o *Options) { o.Adjusted, o.Source = true, "yahoo" }
	if p := imported(t, mem, path, yes); p.Published != 2 || p.Rejected != 1 {
		t.Errorf("%+v", p)
	}
	bars := feedtest.Of[*market.Bar](mem)
	if b := bars[0]; b.OpenUSD.String() != "5.55" || b.HighUSD.String() != "6.1" || b.LowUSD.String() != "3.28" || b.Volume.String() != "3718500" || b.Symbol != "CORZ" ||
		b.Interval != market.Interval1d || !b.EventTime.Equal(time.Date(2024, 1, 24, 5, 0, 0, 0, time.UTC)) || !b.Final {
		t.Errorf("bar %+v", b)
	}
	if b := bars[1]; b.OpenUSD.String() != "24.015" {
		t.Errorf("the float noise of 24.015 is read as %s", b.OpenUSD)
	}
	// The chart API's answer has the same days; the price of now is appended as a row of its own.
	chart := write(t, dir, "chart.json", `{"chart":{"result":[{"meta":{"currency":"USD","symbol":"CORZ","dataGranularity":"1d"},"timestamp":[1706106600,1747229400,1747254000],
"indicators":{"quote":[{"open":[5.550000190734863,24.014999389648438,24],"high":[6.099999904632568,25.170000076293945,24],"low":[3.2799999713897705,23.59000015258789,24],"close":[3.440000057220459,24.920000076293945,24],"volume":[3718500,17518700,0]}],"adjclose":[{"adjclose":[1,2,3]}]}}],"error":null}}`)
	if p := imported(t, mem, chart, yes); p.Known != 2 || p.Published != 0 || p.Rejected != 1 {
		t.Errorf("chart: %+v", p)
	}
	for name, text := range map[string]string{
		"error.json": `{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found"}}}`,
		"eur.json":   `{"chart":{"result":[{"meta":{"currency":"EUR","symbol":"X"},"timestamp":[],"indicators":{"quote":[{}]}}],"error":null}}`,
		"short.json": `{"chart":{"result":[{"meta":{"symbol":"X","dataGranularity":"1d"},"timestamp":[1706106600],"indicators":{"quote":[{}]}}],"error":null}}`,
	} {
		opt := DefaultOptions()
		opt.Adjusted = true
		if _, err := Import(t.Context(), deps(mem), write(t, dir, name, text), opt, nil); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestStooq(t *testing.T) {
	mem, dir := feedtest.NewMemory(), t.TempDir()
	yes := func(o *Options) { o.Adjusted, o.Source, o.Symbol = true, "stooq", "IREN" }
	p := imported(t, mem, write(t, dir, "iren_us_d.csv", "Date,Open,High,Low,Close,Volume\n2025-11-19,48.1,49.9,47.5,49.2,31234567\n2025-11-18,N/D,N/D,N/D,N/D,N/D\n"), yes)
	if p.Published != 1 || p.Rejected != 1 {
		t.Errorf("%+v", p)
	}
	if p := imported(t, mem, write(t, dir, "none.csv", "No data"), yes); p.Rows != 0 {
		t.Errorf("%+v", p)
	}
	if _, err := Import(t.Context(), deps(mem), write(t, dir, "hits.csv", "Exceeded the daily hits limit"), DefaultOptions(), nil); err == nil || !strings.Contains(err.Error(), "again") {
		t.Errorf("error %v", err)
	}
}

func TestParquet(t *testing.T) {
	type print struct {
		Time       time.Time `parquet:"time,timestamp(microsecond)"`
		Symbol     string    `parquet:"symbol"`
		Price      float64   `parquet:"price"`
		Size       int64     `parquet:"size,decimal(2:18)"`
		Conditions []string  `parquet:"conditions,list"`
		ID         *int64    `parquet:"id,optional"`
	}
	id := int64(77)
	path := filepath.Join(t.TempDir(), "prints.parquet")
	err := parquet.WriteFile(path, []print{
		{time.Date(2025, 11, 20, 14, 30, 0, 123456000, time.UTC), "IREN", 42.15, 10050, []string{"@", "I"}, &id},
		{time.Date(2025, 11, 20, 14, 30, 1, 0, time.UTC), "CORZ", 18.1, 100, nil, nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	mem := feedtest.NewMemory()
	if p := imported(t, mem, path, nil); p.Published != 2 {
		t.Fatalf("%+v: %v", p, feedtest.Of[*market.DeadLetter](mem))
	}
	x := feedtest.Of[*market.Trade](mem)[0]
	if x.PriceUSD.String() != "42.15" || x.SizeShares.Trim(0).String() != "100.5" || x.ID != "77" || strings.Join(x.Conditions, " ") != "@ I" || x.EventTime.Nanosecond() != 123456000 {
		t.Errorf("print %+v", x)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(data) { // a damaged file is an error, or is read; it never panics
		if cut%7 == 0 {
			damaged := bytes.Clone(data)
			damaged[cut] ^= 0xff
			_, _ = Import(t.Context(), deps(feedtest.NewMemory()), write(t, t.TempDir(), "x.parquet", string(damaged)), DefaultOptions(), nil)
		}
	}
}

// An import that was killed goes on: what it published is known, the rest follows, and the line is settled.
func TestAnInterruptedImportGoesOn(t *testing.T) {
	mem := feedtest.NewMemory()
	path := write(t, t.TempDir(), "prints.csv", tradesCSV)
	ctx, cancel := context.WithCancel(t.Context())
	killed := &breaking{Memory: mem, after: 2, cancel: cancel}
	d := deps(mem)
	d.Sink = killed
	if _, err := Import(ctx, d, path, DefaultOptions(), nil); err == nil {
		t.Fatal("the import did not notice its end")
	}
	before := len(feedtest.Of[*market.Trade](mem))
	p := imported(t, mem, path, nil)
	if before == 0 || before == 3 || p.Known != before || p.Published != 3-before || len(feedtest.Of[*market.Trade](mem)) != 3 {
		t.Errorf("%d before, then %+v", before, p)
	}
	ids := map[string]market.GapState{}
	for _, g := range feedtest.Of[*market.FeedGap](mem) {
		ids[g.GapID] = g.State
	}
	if len(ids) != 1 {
		t.Errorf("lines %v, want one", ids)
	}
}

// breaking is a sink that ends after some trades.
type breaking struct {
	*feedtest.Memory
	after  int
	cancel context.CancelFunc
}

func (b *breaking) Publish(ctx context.Context, ev market.Event) error {
	if _, ok := ev.(*market.Trade); ok {
		if b.after--; b.after < 0 {
			b.cancel()
			return context.Canceled
		}
	}
	return b.Memory.Publish(ctx, ev)
}

func TestTheDirectoryIsWatched(t *testing.T) {
	mem, dir := feedtest.NewMemory(), t.TempDir()
	write(t, dir, "bars.csv", barsCSV)
	write(t, dir, "README.txt", "no data")
	write(t, dir, "bad.csv", "a,b\n1,2\n")
	cfg := DefaultConfig()
	cfg.Dir, cfg.PollEvery = dir, 10*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, deps(mem)) }()
	wait := func(what string, ok func([]market.Event) bool) {
		t.Helper()
		limit, stop := context.WithTimeout(t.Context(), 3*time.Minute)
		defer stop()
		if !mem.Wait(limit, ok) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
	bars := func(n int) func([]market.Event) bool {
		return func(evs []market.Event) bool {
			got := 0
			for _, ev := range evs {
				if _, ok := ev.(*market.Bar); ok {
					got++
				}
			}
			return got >= n
		}
	}
	wait("the file that was there", bars(2))
	write(t, dir, "new.csv", strings.ReplaceAll(barsCSV, "IREN", "CORZ"))
	wait("the new file", bars(4))
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ended with %v", err)
	}
	evs := feedtest.Of[*market.FeedEvent](mem)
	if len(evs) != 2 || evs[0].State != market.FeedConnected || evs[1].State != market.FeedStopped {
		t.Errorf("states %+v", evs)
	}
}

func TestRealFiles(t *testing.T) {
	dir := filepath.Join("..", "..", "..", "..", "shared", "data", "equities")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no recordings: ", err)
	}
	for sub, want := range map[string]int{"daily_close": 5000, "daily_ohlcv": 900, "minute_2026-01-29": 400} {
		mem := feedtest.NewMemory()
		p := imported(t, mem, filepath.Join(dir, sub), func(o *Options) { o.Adjusted = sub != "minute_2026-01-29" })
		if p.Published < want || p.Rejected > p.Rows/100 {
			t.Errorf("%s: %+v", sub, p)
		}
		t.Logf("%s: %+v", sub, p)
		if again := imported(t, mem, filepath.Join(dir, sub), func(o *Options) { o.Adjusted = sub != "minute_2026-01-29" }); again.Published != 0 || again.Skipped != p.Files {
			t.Errorf("%s again: %+v", sub, again)
		}
	}
}

func FuzzRows(f *testing.F) {
	for _, s := range []string{tradesCSV, barsCSV, yahooCSV, "No data", `[{"t":1763649001000000000,"sym":"IREN","bp":42.1,"ap":42.12}]`, `{"time":"2025-11-20T14:30:00Z","price":1,"size":1}`,
		`{"chart":{"result":[{"meta":{"symbol":"X","dataGranularity":"1m"},"timestamp":[1706106600],"indicators":{"quote":[{"open":[1],"high":[1],"low":[1],"close":[1],"volume":[null]}]}}]}}`} {
		f.Add([]byte(s))
	}
	opt := DefaultOptions()
	opt.Adjusted = true
	clock, err := newClock(opt)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, read := range []func(s sink) error{
			func(s sink) error { return readCSV(bytes.NewReader(data), s) }, func(s sink) error { return readJSON(bytes.NewReader(data), s) },
		} {
			im := &importer{opt: opt, clock: clock}
			r := im.reader("X.csv", time.Now())
			_ = read(sink{
				header: func(columns []string) (err error) {
					r.layout, err = layoutOf(Auto, columns)
					return err
				},
				row: func(x row) error {
					ev, err := r.event(&x)
					if err == nil {
						ev.GetMeta().Source, ev.GetMeta().RecvTime = "x", time.Now()
						_ = ev.Validate()
					} else if feed.ReasonOf(err, "") == "" {
						t.Fatalf("an error without a reason: %v", err)
					}
					return nil
				},
			})
		}
	})
}
