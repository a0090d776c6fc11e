package kraken

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
)

// answer wraps as Kraken does: errors are in the body of a 200.
func answer(w http.ResponseWriter, result any, errs ...string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	body := map[string]any{"error": append([]string{}, errs...)}
	if len(errs) == 0 {
		body["result"] = result
	}
	_ = json.NewEncoder(w).Encode(body)
}

func (s *Server) serveTime(w http.ResponseWriter, _ *http.Request) {
	now := s.cfg.Now().UTC()
	answer(w, map[string]any{"unixtime": now.Unix(), "rfc1123": now.Format(time.RFC1123)})
}

const mostCandles = 720

// serveCandles answers oldest first, 720 rows at most, prices as strings; the last row is that of the running interval.
func (s *Server) serveCandles(w http.ResponseWriter, r *http.Request) {
	if p := r.FormValue("pair"); p != "XBTUSD" && p != "BTC/USD" {
		answer(w, nil, "EQuery:Unknown asset pair")
		return
	}
	minutes, err := strconv.Atoi(r.FormValue("interval"))
	if r.FormValue("interval") == "" {
		minutes, err = 1, nil
	}
	switch minutes {
	case 1, 5, 15, 30, 60, 240, 1440, 10080:
	default:
		answer(w, nil, "EGeneral:Invalid arguments")
		return
	}
	since, serr := strconv.ParseInt(r.FormValue("since"), 10, 64)
	if err != nil || serr != nil && r.FormValue("since") != "" {
		answer(w, nil, "EGeneral:Invalid arguments")
		return
	}
	step := time.Duration(minutes) * time.Minute
	now := s.cfg.Now().UTC()
	rows := [][8]any{}
	last := int64(0)
	for at := now.Truncate(step).Add(-(mostCandles - 1) * step); !at.After(now); at = at.Add(step) {
		if at.Unix() <= since {
			continue
		}
		price := func(t time.Time) float64 {
			if t.After(now) {
				t = now
			}
			return math.Round(s.cfg.World.BTCUSDAt(t)*10) / 10
		}
		open, cl := price(at), price(at.Add(step))
		low, high := math.Min(open, cl), math.Max(open, cl)
		for i := range 24 {
			p := price(at.Add(step * time.Duration(i) / 24))
			low, high = math.Min(low, p), math.Max(high, p)
		}
		text := func(f float64) string { return string(tenths(f)) }
		volume := (100 + 100*wire.Uniform(s.cfg.Seed, "kraken candle", at.Unix())) * step.Hours()
		rows = append(rows, [8]any{at.Unix(), text(open), text(high), text(low), text(cl), text((open + cl) / 2), string(coins(volume)), int64(volume * 20)})
		last = at.Add(-step).Unix()
	}
	answer(w, map[string]any{"XXBTZUSD": rows, "last": last})
}
