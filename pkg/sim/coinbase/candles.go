package coinbase

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
)

// candle of one interval; prices in whole cents.
type candle struct {
	at                     time.Time
	low, high, open, close float64
	volumeBTC              float64
}

// MarshalJSON writes [time, low, high, open, close, volume], numbers.
func (c candle) MarshalJSON() ([]byte, error) {
	return json.Marshal([6]json.Number{
		json.Number(strconv.FormatInt(c.at.Unix(), 10)), json.Number(cents(c.low)), json.Number(cents(c.high)), json.Number(cents(c.open)),
		json.Number(cents(c.close)), json.Number(strconv.FormatFloat(c.volumeBTC, 'f', 8, 64)),
	})
}

// load reads the daily history. Its prices are rounded to the cent, Coinbase's tick; its volume is in dollars over all venues and is served
// in bitcoin at the close.
func load(dir string) ([]candle, error) {
	rows, err := wire.ReadCSV(filepath.Join(dir, "network", "btc_usd_daily_ohlcv.csv"), "date", "open", "high", "low", "close", "volume")
	if err != nil {
		return nil, err
	}
	out := make([]candle, 0, len(rows))
	for i, row := range rows {
		at, err := time.Parse(time.DateOnly, row["date"])
		var f [5]float64
		for j, k := range []string{"open", "high", "low", "close", "volume"} {
			v, perr := strconv.ParseFloat(row[k], 64)
			f[j], err = v, errors.Join(err, perr)
		}
		if err == nil && (f[3] <= 0) {
			err = errors.New("it is not above 0")
		}
		if err != nil {
			return nil, fmt.Errorf("read btc_usd_daily_ohlcv.csv, row %d (%s): a figure is missing or impossible: %w", i+2, row["date"], err)
		}
		out = append(out, candle{at: at, open: f[0], high: f[1], low: f[2], close: f[3], volumeBTC: f[4] / f[3]})
	}
	return out, nil
}

const maxCandles = 300

// serveCandles answers newest first, 300 rows at most.
func (s *Server) serveCandles(w http.ResponseWriter, r *http.Request) {
	refuse := func(msg string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": msg})
	}
	if r.PathValue("product") != product {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"message":"NotFound"}`))
		return
	}
	secs, err := strconv.Atoi(r.FormValue("granularity"))
	switch secs {
	case 60, 300, 900, 3600, 21600, 86400:
	default:
		err = errors.New("not one of the allowed")
	}
	if err != nil {
		refuse("Unsupported granularity")
		return
	}
	step := time.Duration(secs) * time.Second
	now := s.cfg.Now().UTC()
	start, end := now.Add(-maxCandles*step), now
	if r.FormValue("start") != "" && r.FormValue("end") != "" { // one alone is ignored
		var err1, err2 error
		start, err1 = time.Parse(time.RFC3339, r.FormValue("start"))
		end, err2 = time.Parse(time.RFC3339, r.FormValue("end"))
		if err := errors.Join(err1, err2); err != nil {
			refuse("start or end is not a time")
			return
		}
		if end.Sub(start) >= maxCandles*step {
			refuse("granularity too small for the requested time range. Count of aggregations requested exceeds 300")
			return
		}
	}
	out := []candle{}
	if s.cfg.Dir != "" {
		for i := len(s.candles) - 1; i >= 0 && secs == 86400; i-- {
			if c := s.candles[i]; !c.at.Before(start) && !c.at.After(end) {
				out = append(out, c)
			}
		}
	} else {
		for at := end.Truncate(step); !at.Before(start); at = at.Add(-step) {
			if at.After(now) || at.Before(s.cfg.HistoryFrom) {
				continue
			}
			out = append(out, s.generate(at, step, now))
		}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(out)
}

// generate samples the world's path within the interval.
func (s *Server) generate(at time.Time, step time.Duration, now time.Time) candle {
	price := func(t time.Time) float64 {
		if t.After(now) {
			t = now
		}
		return math.Round(s.cfg.World.BTCUSDAt(t)*100) / 100
	}
	c := candle{at: at, open: price(at), close: price(at.Add(step))}
	c.low, c.high = min(c.open, c.close), max(c.open, c.close)
	const samples = 48
	for i := range samples {
		p := price(at.Add(step * time.Duration(i) / samples))
		c.low, c.high = min(c.low, p), max(c.high, p)
	}
	c.volumeBTC = (300 + 400*wire.Uniform(s.cfg.Seed, "candle volume", at.Unix())) * step.Hours()
	return c
}
