package vast

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
)

// recording serves answers of the real server, one poll a file, and daily medians.
type recording struct {
	polls   []recordedPoll
	medians map[string][]point // by model

	mu   sync.Mutex
	next int
}

type recordedPoll struct {
	at     time.Time
	offers []json.RawMessage
}

type point struct {
	at     int64
	median float64
}

func load(dir string) (*recording, error) {
	r := &recording{medians: map[string][]point{}}
	files, err := filepath.Glob(filepath.Join(dir, "gpu", "vast_bundles", "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list recordings: %w", err)
	}
	slices.Sort(files)
	for _, name := range files {
		p, err := readPoll(name)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Base(name), err)
		}
		r.polls = append(r.polls, p)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "gpu", "vast_runpod_daily_*.csv"))
	if err != nil {
		return nil, fmt.Errorf("list recordings: %w", err)
	}
	slices.Sort(tables)
	for _, name := range tables {
		if err := r.readMedians(name); err != nil {
			return nil, err
		}
	}
	if len(r.polls) == 0 && len(r.medians) == 0 {
		return nil, errors.New("there is neither gpu/vast_bundles/*.json nor gpu/vast_runpod_daily_*.csv")
	}
	return r, nil
}

// readPoll puts the answers to one day's searches, which were made model by model, together into the one answer that a search for all models
// would have had. The searches were limited to 64 offers a model.
func readPoll(name string) (recordedPoll, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return recordedPoll{}, fmt.Errorf("open recording: %w", err)
	}
	var w struct {
		Collected time.Time                    `json:"collected_utc"`
		Offers    map[string][]json.RawMessage `json:"offers_by_model"`
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return recordedPoll{}, fmt.Errorf("decode recording: %w", err)
	}
	if w.Collected.IsZero() {
		return recordedPoll{}, errors.New("collected_utc is missing")
	}
	p := recordedPoll{at: w.Collected.UTC()}
	for _, model := range slices.Sorted(maps.Keys(w.Offers)) {
		p.offers = append(p.offers, w.Offers[model]...)
	}
	return p, nil
}

// readMedians takes the rows of Vast. They are dated by day only: a second run on a day stands at noon.
func (r *recording) readMedians(name string) error {
	rows, err := wire.ReadCSV(name, "date", "provider", "gpu_model", "price_usd_per_gpu_hr")
	if err != nil {
		return err
	}
	for i, row := range rows {
		if row["provider"] != "vast.ai" {
			continue
		}
		at, err1 := time.Parse(time.DateOnly, row["date"])
		usd, err2 := strconv.ParseFloat(row["price_usd_per_gpu_hr"], 64)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("read %s, row %d: %w", filepath.Base(name), i+2, err)
		}
		p := point{at: at.Unix(), median: usd}
		list := r.medians[row["gpu_model"]]
		if n := len(list); n > 0 && list[n-1].at == p.at {
			p.at += 43200
		}
		r.medians[row["gpu_model"]] = append(list, p)
	}
	return nil
}

// poll is the answer to a search on demand, which is all that was recorded: the first from since on, by the second, or without since the one behind the last that
// was asked for. end tells that there is none, and it is a repeat of the last.
func (r *recording) poll(typ string, since *time.Time) (at time.Time, offers []json.RawMessage, end bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.polls) == 0 {
		return time.Now().UTC(), nil, true
	}
	if typ != "ondemand" && typ != "on-demand" {
		return r.polls[len(r.polls)-1].at, nil, true
	}
	if since != nil {
		r.next = slices.IndexFunc(r.polls, func(p recordedPoll) bool { return !p.at.Truncate(time.Second).Before(*since) })
		if r.next < 0 {
			r.next = len(r.polls)
		}
	}
	i := min(r.next, len(r.polls)-1)
	end = r.next >= len(r.polls)
	r.next++
	return r.polls[i].at, r.polls[i].offers, end
}

// recordedModel has the median of what is available; the rest was not recorded.
func recordedModel(points []point, start, end int64) model {
	m := model{Stats: map[string]float64{}}
	for _, p := range points {
		if p.at < start || p.at >= end {
			continue
		}
		v := p.median
		m.Pricing.Timestamps = append(m.Pricing.Timestamps, p.at)
		m.Pricing.AvailMedian = append(m.Pricing.AvailMedian, &v)
		m.Pricing.AvailP10, m.Pricing.AvailP90 = append(m.Pricing.AvailP10, nil), append(m.Pricing.AvailP90, nil)
		m.Pricing.RentedP10, m.Pricing.RentedMedian, m.Pricing.RentedP90 =
			append(m.Pricing.RentedP10, nil), append(m.Pricing.RentedMedian, nil), append(m.Pricing.RentedP90, nil)
	}
	return m
}
