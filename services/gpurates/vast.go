package gpurates

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// endHeader is how a recording says that there are no more polls: the answer repeats the last. sinceHeader is how it is asked for the first from a time on.
const (
	endHeader   = "Hashpivot-Recording"
	endValue    = "end"
	sinceHeader = "Hashpivot-Recording-Since"
)

// vastLists are one search a class, of the venue or of a recording of it.
func vastLists(cfg VastConfig, recording bool, up *access) []*list {
	var out []*list
	for _, c := range cfg.Classes {
		l := &list{
			name: string(c), from: "bundles " + string(c), rates: methodVast,
			owns:  func(o *market.Offer) bool { return o.Class == c },
			after: func(ctx context.Context, a *answer) error { return vastRates(ctx, up.f, a, "bundles "+string(c)) },
		}
		l.fetch = func(ctx context.Context) (a *answer, err error) {
			r := vastSearch(cfg, c)
			if recording {
				r.Header.Set(sinceHeader, l.wanted().Format(time.RFC3339))
			}
			err = up.get(ctx, r, func(r *feed.Response) error {
				a, err = decodeBundles(r.Body, c, cfg.Limit, r.Date, r.Recv)
				if err == nil {
					a.End = r.Header.Get(endHeader) == endValue
				}
				return err
			})
			return a, err
		}
		out = append(out, l)
	}
	return out
}

// vastRefused: the venue answers a bad key with 404.
func vastRefused(status int) string {
	if status == http.StatusNotFound {
		return "search offers: the venue answers 404, its answer to a missing or bad key: set gpurates.vast.api_key, and check .url"
	}
	return ""
}

// vastRates tells the index of each model of a poll.
func vastRates(ctx context.Context, f *feed.Feed, a *answer, from string) error {
	groups := map[string][]*market.Offer{}
	for _, o := range a.Offers {
		groups[o.GPU] = append(groups[o.GPU], o)
	}
	names := make([]string, 0, len(groups))
	for gpu := range groups {
		names = append(names, gpu)
	}
	slices.Sort(names)
	for _, gpu := range names {
		r, ok, err := Index(groups[gpu])
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		r.Meta = market.Meta{EventTime: a.At, RecvTime: a.Recv}
		if _, err := f.Emit(ctx, r, from, nil); err != nil {
			return sinkError{err}
		}
	}
	return nil
}

// vastSearch is one search. The allocated storage of 8 GB is the venue's own default, said openly so that dph_total means the same tomorrow.
func vastSearch(cfg VastConfig, c market.Class) feed.Request {
	typ := "ondemand"
	switch c {
	case market.Interruptible:
		typ = "bid"
	case market.Reserved:
		typ = "reserved"
	}
	body, _ := json.Marshal(map[string]any{ // strings and numbers: cannot fail
		"limit": cfg.Limit, "type": typ, "rentable": map[string]bool{"eq": true}, "rented": map[string]bool{"eq": false},
		"gpu_name": map[string][]string{"in": cfg.GPUs}, "order": [][2]string{{"dph_total", "asc"}}, "allocated_storage": 8,
	})
	return feed.Request{Method: http.MethodPost, URL: cfg.URL + "/api/v0/bundles/", Header: vastHeader(cfg), Body: body}
}

func vastHeader(cfg VastConfig) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	if k := cfg.APIKey.Reveal(); k != "" {
		h.Set("Authorization", "Bearer "+k)
	}
	return h
}
