package alpaca

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/alpaca"
)

func recordedConfig(v *venue) testConfig {
	cfg := v.config()
	cfg.Alpaca.Source, cfg.Calendar, cfg.StopAtEnd = "rec-alpaca", "us", true
	cfg.Symbols = v.Symbols()
	cfg.Backfill.DailyFrom, cfg.Backfill.MinuteFrom = "1990-01-01", "1990-01-01"
	return cfg
}

// writeRecording makes a small directory of recordings.
func writeRecording(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"daily_close/OLD.csv":          "Date,Close\n1999-01-22,0.037559084594249725\n1999-01-25,0.5098999738693237\n",
		"daily_close/IREN.csv":         "Date,Close\n2026-05-14,58.400001525878906\n2026-05-15,52.939998626708984\n2026-08-03,38.904998779296875\n",
		"daily_ohlcv/IREN.csv":         "Date,Open,High,Low,Close,Adj Close,Volume\n2026-05-15,56.7400016784668,56.790000915527344,52.86000061035156,52.939998626708984,52.939998626708984,48511300.0\n",
		"minute_2026-01-29/CORZ.csv":   "Ticker,Open,High,Low,Close,Volume,Bid,Ask,Timestamp\nCORZ,19.43,19.43,19.43,19.43,100,0,0,2026-01-29 08:14:00\nCORZ,19.43,19.44,19.43,19.44,930,0,0,2026-01-29 08:14:00\n",
		"minute_2026-01-29/ignored.md": "not a recording",
	} {
		path := filepath.Join(dir, "equities", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRecordedRunEndsAndRunsTwiceWithoutDoubles(t *testing.T) {
	t.Parallel()
	v := newVenue(t, alpaca.Config{Dir: writeRecording(t)})
	mem := feedtest.NewMemory()
	if err := start(t, recordedConfig(v), mem).wait(); err != nil {
		t.Fatal(err)
	}
	got := map[string]*market.Bar{}
	for _, b := range feedtest.Of[*market.Bar](mem) {
		got[b.Symbol+" "+string(b.Interval)+" "+b.EventTime.Format("2006-01-02T15:04Z")] = b
	}
	for key, want := range map[string]struct {
		open, closing, volume string
		final                 bool
	}{
		"OLD 1d 1999-01-22T05:00Z":  {"0.037559", "0.037559", "0", true},
		"OLD 1d 1999-01-25T05:00Z":  {"0.5099", "0.5099", "0", true},
		"IREN 1d 2026-05-14T04:00Z": {"58.4", "58.4", "0", true},
		"IREN 1d 2026-05-15T04:00Z": {"56.74", "52.94", "48511300", true},
		"IREN 1d 2026-08-03T04:00Z": {"38.9", "38.9", "0", false}, // an intraday value: the recording's clock says so
		"CORZ 1m 2026-01-29T13:14Z": {"19.43", "19.44", "930", true},
	} {
		b := got[key]
		if b == nil {
			t.Errorf("no bar %s", key)
			continue
		}
		if b.OpenUSD.String() != want.open || b.CloseUSD.String() != want.closing || b.Volume.String() != want.volume || b.Final != want.final || b.Rev != 0 || !b.Backfill {
			t.Errorf("bar %s is %+v, want %+v", key, b, want)
		}
	}
	if len(got) != 6 {
		t.Errorf("%d bars, want 6", len(got))
	}
	if err := start(t, recordedConfig(v), mem).wait(); err != nil {
		t.Fatal(err)
	}
	if n := len(feedtest.Of[*market.Bar](mem)); n != 6 {
		t.Errorf("the second run made %d bars of 6", n)
	}
	if n := count[*market.DeadLetter](mem.Events(), nil); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestRealRecordings(t *testing.T) {
	t.Parallel()
	const dir = "../../../../shared/data"
	if _, err := os.Stat(filepath.Join(dir, "equities")); err != nil {
		t.Skipf("real recordings are not here: %v", err)
	}
	v := newVenue(t, alpaca.Config{Dir: dir})
	mem := feedtest.NewMemory()
	for run := range 2 {
		if err := start(t, recordedConfig(v), mem).wait(); err != nil {
			t.Fatal(err)
		}
		if n := count[*market.DeadLetter](mem.Events(), nil); n > 0 {
			t.Fatalf("run %d: %d dead letters, the first: %s", run, n, feedtest.Of[*market.DeadLetter](mem)[0].Detail)
		}
	}
	// Every row of the files must be a bar, and every bar a row.
	want := map[string]bool{}
	rows := func(glob string, key func(symbol string, cells []string) string) {
		files, err := filepath.Glob(filepath.Join(dir, "equities", glob))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", glob, err, len(files))
		}
		for _, path := range files {
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			all, err := csv.NewReader(f).ReadAll()
			_ = f.Close()
			if err != nil {
				t.Fatal(err)
			}
			for _, cells := range all[1:] {
				want[key(strings.TrimSuffix(filepath.Base(path), ".csv"), cells)] = true
			}
		}
	}
	daily := func(symbol string, cells []string) string { return symbol + " " + cells[0] }
	rows("daily_close/*.csv", daily)
	rows("daily_ohlcv/*.csv", daily)
	rows("minute_*/*.csv", func(_ string, cells []string) string { return cells[0] + " " + cells[8][:16] })

	cal, err := recordedConfig(v).calendar()
	if err != nil {
		t.Fatal(err)
	}
	bars := feedtest.Of[*market.Bar](mem)
	for _, b := range bars {
		d := cal.DateOf(b.EventTime)
		key := b.Symbol + " " + d.String()
		if b.Interval == market.Interval1m {
			key += " " + b.EventTime.In(newYork(t)).Format("15:04")
		}
		if !want[key] {
			t.Fatalf("bar %s was not recorded, or is there twice", key)
		}
		delete(want, key)
	}
	for key := range want {
		t.Fatalf("%d rows are missing, such as %s", len(want), key)
	}
	t.Logf("%d bars of %d symbols", len(bars), len(v.Symbols()))
}
