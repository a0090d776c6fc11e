package alpaca

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/govalues/decimal"

	"github.com/hashpivot/hashpivot/pkg/session"
)

// recording is a directory of bars, in memory (some 30,000 rows).
type recording struct {
	bars map[string]map[string][]row // timeframe, symbol, in the order of time
	// madeAt is the recording's clock: within the last day, so that the day's bar, an intraday value, is not final.
	madeAt time.Time
}

// RecordedSymbols lists the symbols of a directory of recordings.
func RecordedSymbols(dir string) ([]string, error) {
	r, err := loadRecording(dir)
	if err != nil {
		return nil, err
	}
	return r.symbols(), nil
}

func (r *recording) symbols() []string {
	seen := map[string]bool{}
	for _, bars := range r.bars {
		for symbol := range bars {
			seen[symbol] = true
		}
	}
	out := make([]string, 0, len(seen))
	for symbol := range seen {
		out = append(out, symbol)
	}
	slices.Sort(out)
	return out
}

func (r *recording) rows(timeframe, symbol string, from position, end time.Time, limit int) []row {
	all := r.bars[timeframe][symbol]
	first, _ := slices.BinarySearchFunc(all, from, func(x row, p position) int {
		if x.at < p.at || x.at == p.at && p.id > 0 {
			return -1
		}
		return 1
	})
	last := first
	for last < len(all) && all[last].at <= end.UnixNano() && last-first < limit {
		last++
	}
	return all[first:last]
}

// loadRecording reads equities/ of the directory. Where a symbol and day is in daily_ohlcv and in daily_close, daily_ohlcv wins.
// A close-only day is told as o = h = l = c = close with v = 0 and n = 0. Prices are rounded to a cent, below a dollar to six decimals:
// old prices are adjusted for splits and lie far below a hundredth of a cent apart, and more digits are float noise.
func loadRecording(dir string) (*recording, error) {
	cal, err := session.NewAlways()
	if err != nil {
		return nil, err
	}
	l := loader{cal: cal, days: map[barKey]row{}, minutes: map[barKey]row{}}
	root := filepath.Join(dir, "equities")
	for _, x := range []struct {
		glob string
		load func(string) error
	}{
		{"daily_close/*.csv", l.closes},
		{"daily_ohlcv/*.csv", l.daily},
		{"minute_*/*.csv", l.minute},
	} {
		files, err := filepath.Glob(filepath.Join(root, x.glob))
		if err != nil {
			return nil, fmt.Errorf("list %s of %s: %w", x.glob, root, err)
		}
		for _, f := range files {
			if err := x.load(f); err != nil {
				return nil, fmt.Errorf("load recording: %w", err)
			}
		}
	}
	if len(l.days)+len(l.minutes) == 0 {
		return nil, fmt.Errorf("load recording: %s has no daily_close, daily_ohlcv or minute_ files; is the directory laid out as the recordings are?", root)
	}
	r := &recording{bars: map[string]map[string][]row{"1Day": group(l.days), "1Min": group(l.minutes)}}
	var newest int64
	for key := range l.days {
		newest = max(newest, key.at)
	}
	for key := range l.minutes {
		newest = max(newest, key.at)
	}
	r.madeAt = cal.Midnight(cal.DateOf(stamp(newest))).Add(12 * time.Hour)
	return r, nil
}

func group(all map[barKey]row) map[string][]row {
	out := map[string][]row{}
	for key, x := range all {
		out[key.symbol] = append(out[key.symbol], x)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b row) int {
			if a.at < b.at {
				return -1
			}
			return 1
		})
	}
	return out
}

type loader struct {
	cal           session.Always
	days, minutes map[barKey]row
}

// eachLine calls fn for the data lines of a CSV file whose header must be as given.
func eachLine(path, header string, fn func(cells []string) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r := csv.NewReader(f)
	for {
		cells, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		line, _ := r.FieldPos(0)
		if err == nil {
			if line == 1 {
				if got := strings.Join(cells, ","); got != header {
					err = fmt.Errorf("header %q, want %q", got, header)
				}
			} else {
				err = fn(cells)
			}
		}
		if err != nil {
			return fmt.Errorf("%s line %d: %w", path, line, err)
		}
	}
}

func symbolOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".csv") }

func (l loader) midnight(date string) (int64, error) {
	d, err := session.ParseDate(date)
	if err != nil {
		return 0, err
	}
	return l.cal.Midnight(d).UnixNano(), nil
}

func (l loader) closes(path string) error {
	return eachLine(path, "Date,Close", func(c []string) error {
		at, err := l.midnight(c[0])
		if err != nil {
			return err
		}
		x, err := recordedBar(at, c[1], c[1], c[1], c[1], "0")
		l.days[barKey{symbolOf(path), at}] = x
		return err
	})
}

func (l loader) daily(path string) error {
	return eachLine(path, "Date,Open,High,Low,Close,Adj Close,Volume", func(c []string) error {
		at, err := l.midnight(c[0])
		if err != nil {
			return err
		}
		x, err := recordedBar(at, c[1], c[2], c[3], c[4], c[6])
		l.days[barKey{symbolOf(path), at}] = x
		return err
	})
}

// minute reads minute bars in New York time. Of a doubled stamp the last row is kept: it is the later report.
func (l loader) minute(path string) error {
	return eachLine(path, "Ticker,Open,High,Low,Close,Volume,Bid,Ask,Timestamp", func(c []string) error {
		date, clock, _ := strings.Cut(c[8], " ")
		midnight, err := l.midnight(date)
		if err != nil {
			return err
		}
		t, err := time.Parse(time.TimeOnly, clock)
		if err != nil {
			return err
		}
		at := midnight + int64(time.Duration(t.Hour())*time.Hour+time.Duration(t.Minute())*time.Minute)
		x, err := recordedBar(at, c[1], c[2], c[3], c[4], c[5])
		l.minutes[barKey{c[0], at}] = x
		return err
	})
}

// recordedBar encodes a bar as the venue does.
func recordedBar(at int64, o, h, l, c, v string) (row, error) {
	b := appendTime([]byte(`{"n":0,"vw":0`), at)
	for _, x := range [...]struct{ key, text string }{{"o", o}, {"h", h}, {"l", l}, {"c", c}} {
		price, err := toTick(x.text)
		if err != nil {
			return row{}, err
		}
		b = append(append(append(b, `,"`...), x.key...), `":`...)
		b = append(b, price...)
	}
	volume, err := decimal.Parse(v)
	if err != nil {
		return row{}, fmt.Errorf("volume %q: %w", v, err)
	}
	b = append(append(b, `,"v":`...), volume.Round(0).String()...)
	return row{at: at, json: append(b, '}')}, nil
}

func toTick(text string) (string, error) {
	p, err := decimal.Parse(text)
	if err != nil {
		return "", fmt.Errorf("price %q: %w", text, err)
	}
	scale := 2
	if p.Cmp(decimal.One) < 0 {
		scale = 6
	}
	p = p.Round(scale).Trim(0)
	if !p.IsPos() {
		return "", fmt.Errorf("price %q is not above 0", text)
	}
	return p.String(), nil
}
