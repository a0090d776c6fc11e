package gpurates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// The venue's own daily medians. "available" is what is asked for by machines that nobody rents, "rented" what is paid for those that are: the
// two sides of the market. They are of verified machines, all memory sizes of a model together.
const (
	methodAvailable = "vast-metrics-median"
	methodRented    = "vast-metrics-rented"
	versionMetrics  = 1
)

const (
	day = 24 * time.Hour
	// chunk of history a call asks for. Chunks are aligned, so that the same days are asked for in the same way each time and the venue cuts
	// them into the same points.
	chunk = 90 * day
)

// medians reads the venue's history of medians.
type medians struct {
	cfg       VastConfig
	stopAtEnd bool
	f         *feed.Feed
	up        *access
	from      time.Time
	told      map[string]*market.Rate // by method, model and time: the last word
	next      time.Time               // of the next call
	complete  time.Time               // all chunks that end before it are read
}

func medianKey(r *market.Rate) string {
	return r.Method + "|" + r.GPU + "|" + strconv.FormatInt(r.EventTime.Unix(), 10)
}

func (m *medians) restore(r *market.Rate) {
	if r.Method != methodAvailable && r.Method != methodRented {
		return
	}
	if old, ok := m.told[medianKey(r)]; !ok || r.Rev >= old.Rev {
		m.told[medianKey(r)] = r
	}
}

func (m *medians) run(ctx context.Context) error {
	if m.from.IsZero() {
		return nil
	}
	for {
		err := m.once(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case m.stopAtEnd:
			return err
		case err != nil:
			if _, ours := errors.AsType[sinkError](err); ours {
				return err
			}
			m.f.Logger().Warn("history of medians is incomplete, will be read again", "err", err, "in", m.cfg.HistoryEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(m.cfg.HistoryEvery):
		}
	}
}

// once reads all chunks that are not known to be complete.
func (m *medians) once(ctx context.Context) error {
	now := m.f.Now()
	from := m.from
	if m.complete.After(from) {
		from = m.complete
	}
	for ; from.Before(now); from = from.Add(chunk) {
		if err := m.read(ctx, from, from.Add(chunk), now); err != nil {
			return err
		}
		if from.Add(chunk + 2*day).Before(now) {
			m.complete = from.Add(chunk)
		}
	}
	return nil
}

func (m *medians) read(ctx context.Context, from, to, now time.Time) error {
	if wait := time.Until(m.next); wait > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
	names := make([]string, len(m.cfg.GPUs))
	for i, g := range m.cfg.GPUs {
		names[i] = strings.ReplaceAll(g, " ", "_")
	}
	const path = "/api/v0/metrics/gpu/history/"
	q := url.Values{
		"gpu_name": {strings.Join(names, ",")}, "start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)}, "step": {"86400"},
	}
	resp, err := m.f.CallPatiently(ctx, m.up.client, feed.Request{URL: m.cfg.URL + path + "?" + q.Encode(), Header: vastHeader(m.cfg), Limiter: m.up.limiter})
	m.next = time.Now().Add(m.cfg.MetricsCallEvery)
	if err != nil {
		return err
	}
	rates, err := decodeMedians(resp.Body, resp.Recv)
	if err != nil {
		if err := m.f.Reject(ctx, path, feed.ReasonOf(err, feed.ReasonMalformed), err, resp.Body); err != nil {
			return sinkError{err}
		}
		if len(rates) == 0 {
			return err
		}
	}
	for _, r := range rates {
		// A point stands for the day that begins with it; one whose day is not over would be told again with another value.
		if r.EventTime.Add(day).After(now) || r.EventTime.Before(from) || !r.EventTime.Before(to) {
			continue
		}
		if old, ok := m.told[medianKey(r)]; ok {
			if old.USDPerGPUHour.Cmp(r.USDPerGPUHour) == 0 && old.P10USDPerGPUHour.Cmp(r.P10USDPerGPUHour) == 0 &&
				old.P90USDPerGPUHour.Cmp(r.P90USDPerGPUHour) == 0 {
				continue
			}
			r.Rev = old.Rev + 1
		}
		if _, err := m.f.Emit(ctx, r, path, nil); err != nil {
			return sinkError{err}
		}
		m.told[medianKey(r)] = r
	}
	return nil
}

// column is one of the parallel arrays; null where a point has no value.
type column []*json.Number

func (c column) at(i int) (market.Decimal, bool, error) {
	if i >= len(c) || c[i] == nil {
		return market.Decimal{}, false, nil
	}
	r, err := dollars("price", *c[i])
	if err != nil {
		return market.Decimal{}, false, err
	}
	d, err := roundPrice(r)
	return d, err == nil && d.IsPos(), err
}

// decodeMedians reads the columns into rates, by model, method and time. A model whose columns do not fit costs itself only.
func decodeMedians(data []byte, recv time.Time) ([]*market.Rate, error) {
	var w struct {
		GPUs map[string]json.RawMessage `json:"gpus"`
	}
	if err := feed.DecodeJSON(data, &w); err != nil {
		return nil, err
	}
	if w.GPUs == nil {
		return nil, feed.Missing("gpus")
	}
	var (
		out  []*market.Rate
		errs []error
	)
	for _, name := range slices.Sorted(maps.Keys(w.GPUs)) {
		rates, err := decodeModel(name, w.GPUs[name], recv)
		if err != nil {
			errs = append(errs, fmt.Errorf("%.64q: %w", name, err))
			continue
		}
		out = append(out, rates...)
	}
	return out, errors.Join(errs...)
}

func decodeModel(name string, raw []byte, recv time.Time) ([]*market.Rate, error) {
	var w struct {
		Supply struct {
			Timestamps []int64  `json:"timestamps"`
			Available  []*int64 `json:"avail_verified"`
			Rented     []*int64 `json:"rented_verified"`
		} `json:"supply_demand"`
		Pricing struct {
			Timestamps   []int64 `json:"timestamps"`
			AvailMedian  column  `json:"avail_median"`
			AvailP10     column  `json:"avail_p10"`
			AvailP90     column  `json:"avail_p90"`
			RentedMedian column  `json:"rented_median"`
			RentedP10    column  `json:"rented_p10"`
			RentedP90    column  `json:"rented_p90"`
		} `json:"pricing"`
	}
	if err := feed.DecodeJSON(raw, &w); err != nil {
		return nil, err
	}
	p := w.Pricing
	supply := map[int64]int{}
	for i, t := range w.Supply.Timestamps {
		supply[t] = i
	}
	slug := identify("vast", name, 0)
	var out []*market.Rate
	for _, side := range []struct {
		method           string
		median, p10, p90 column
		gpus             []*int64
	}{
		{methodAvailable, p.AvailMedian, p.AvailP10, p.AvailP90, w.Supply.Available},
		{methodRented, p.RentedMedian, p.RentedP10, p.RentedP90, w.Supply.Rented},
	} {
		for _, c := range []column{side.median, side.p10, side.p90} {
			if len(c) != 0 && len(c) != len(p.Timestamps) {
				return nil, &feed.Malformed{Reason: market.ReasonIncoherent, Err: fmt.Errorf("%d times and %d prices", len(p.Timestamps), len(c))}
			}
		}
		for i, t := range p.Timestamps {
			median, ok, err := side.median.at(i)
			if err != nil {
				return nil, err
			}
			if !ok || t < 0 || t > math.MaxInt64/int64(time.Second) {
				continue
			}
			r := &market.Rate{
				Meta: market.Meta{EventTime: time.Unix(t, 0).UTC(), RecvTime: recv, Backfill: true},
				GPU:  slug, Class: market.OnDemand, Method: side.method, Version: versionMetrics, USDPerGPUHour: median, Dispersion: math.NaN(),
			}
			var err1, err2 error
			r.P10USDPerGPUHour, _, err1 = side.p10.at(i)
			r.P90USDPerGPUHour, _, err2 = side.p90.at(i)
			if err := errors.Join(err1, err2); err != nil {
				return nil, err
			}
			if j, ok := supply[t]; ok && j < len(side.gpus) && side.gpus[j] != nil && *side.gpus[j] > 0 && *side.gpus[j] < math.MaxUint32 {
				r.SampleGPUs = uint32(*side.gpus[j])
			}
			out = append(out, r)
		}
	}
	return out, nil
}
