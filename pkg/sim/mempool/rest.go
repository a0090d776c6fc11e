package mempool

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

func (s *Server) routes(mux *http.ServeMux) {
	get := func(path string, h func(w http.ResponseWriter, r *http.Request, now time.Time)) {
		mux.HandleFunc("GET /api"+path, func(w http.ResponseWriter, r *http.Request) { h(w, r, s.cfg.Now()) })
	}
	blocks := func(w http.ResponseWriter, r *http.Request, now time.Time) {
		tip, ok := s.src.tip(now)
		if !ok {
			answer(w, []block{})
			return
		}
		if p := r.PathValue("height"); p != "" {
			h, err := strconv.ParseInt(p, 10, 64)
			if err != nil || h < 0 {
				http.Error(w, "Invalid height", http.StatusBadRequest)
				return
			}
			tip = min(tip, h)
		}
		answer(w, s.src.blocks(tip, 15))
	}
	get("/v1/blocks", blocks)
	get("/v1/blocks/{height}", blocks)
	get("/blocks/tip/height", func(w http.ResponseWriter, _ *http.Request, now time.Time) {
		tip, _ := s.src.tip(now)
		_, _ = fmt.Fprint(w, tip)
	})
	get("/v1/difficulty-adjustment", func(w http.ResponseWriter, _ *http.Request, now time.Time) {
		a, ok := s.src.adjustment(now)
		if !ok {
			http.Error(w, "no tip", http.StatusServiceUnavailable)
			return
		}
		answer(w, a)
	})
	adjustments := func(w http.ResponseWriter, _ *http.Request, now time.Time) {
		list := s.src.retargets(now)
		rows := make([][4]any, 0, len(list))
		for i := len(list) - 1; i >= 0; i-- {
			r := list[i]
			rows = append(rows, [4]any{r.time, r.height, r.difficulty, r.ratio})
		}
		answer(w, rows)
	}
	get("/v1/mining/difficulty-adjustments", adjustments)
	get("/v1/mining/difficulty-adjustments/{interval}", adjustments)
	get("/v1/mining/blocks/fees/{interval}", s.means("avgFees", func(d dayRow) int64 { return d.fees }))
	get("/v1/mining/blocks/rewards/{interval}", s.means("avgRewards", func(d dayRow) int64 { return d.rewards }))
	get("/v1/mining/reward-stats/{n}", s.rewardStats)
	get("/v1/prices", func(w http.ResponseWriter, _ *http.Request, now time.Time) {
		usd, ok := s.src.usd(now)
		if !ok {
			usd = -1
		}
		answer(w, conversions(now.Unix(), usd))
	})
	get("/v1/historical-price", func(w http.ResponseWriter, _ *http.Request, now time.Time) {
		answer(w, map[string]any{"prices": s.src.prices(now), "exchangeRates": map[string]float64{}})
	})
	get("/v1/fees/recommended", func(w http.ResponseWriter, _ *http.Request, now time.Time) { answer(w, s.src.fees(now)) })
}

// means serves whole days whatever the interval: that of "all", which is the one that has them.
func (s *Server) means(field string, of func(dayRow) int64) func(http.ResponseWriter, *http.Request, time.Time) {
	return func(w http.ResponseWriter, _ *http.Request, now time.Time) {
		days := s.src.days(now)
		rows := make([]map[string]int64, 0, len(days))
		for _, d := range days {
			rows = append(rows, map[string]int64{"avgHeight": d.height, "timestamp": d.time, field: of(d)})
		}
		answer(w, rows)
	}
}

// rewardStats has satoshi as strings.
func (s *Server) rewardStats(w http.ResponseWriter, r *http.Request, now time.Time) {
	n, err := strconv.Atoi(r.PathValue("n"))
	tip, ok := s.src.tip(now)
	if err != nil || n < 1 || n > 10000 || !ok {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	var reward, fee, txs int64
	for _, b := range s.src.blocks(tip, n) {
		reward, fee, txs = reward+b.Extras.Reward, fee+b.Extras.TotalFees, txs+b.TxCount
	}
	str := func(n int64) string { return strconv.FormatInt(n, 10) }
	answer(w, map[string]any{"startBlock": tip - int64(n) + 1, "endBlock": tip, "totalReward": str(reward), "totalFee": str(fee), "totalTx": str(txs)})
}
