package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// params are the parameters of a request.
type params struct{ values url.Values }

func newParams(r *http.Request) *params { return &params{r.URL.Query()} }

// only refuses parameters that the endpoint does not have, and doubled ones. A ticket is the gateway's.
func (p *params) only(names ...string) error {
	for name, v := range p.values {
		if name != "ticket" && !slices.Contains(names, name) {
			return live.Errorf(live.CodeBadRequest, "parameter %.32q is unknown; there are %s", name, strings.Join(names, ", "))
		}
		if len(v) > 1 {
			return live.Errorf(live.CodeBadRequest, "parameter %.32q is given %d times", name, len(v))
		}
	}
	return nil
}

func (p *params) text(name string) string { return p.values.Get(name) }

// spec reads channel, symbols, source and interval.
func (p *params) spec() (live.Spec, error) {
	s := live.Spec{
		Channel: live.Channel(p.text("channel")), Symbols: strings.Split(p.text("symbols"), ","), Source: p.text("source"), Interval: market.Interval(p.text("interval")),
	}
	err := s.Normalize()
	return s, err
}

// patterns reads a list of patterns; none is everything.
func (p *params) patterns(name string) ([]string, error) {
	if p.text(name) == "" {
		return []string{"*"}, nil
	}
	s := live.Spec{Channel: live.Trades, Symbols: strings.Split(p.text(name), ",")}
	err := s.Normalize()
	return s.Symbols, err
}

func (p *params) limit() (int, error) {
	text := p.text("limit")
	if text == "" {
		return defaultRows, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxRows {
		return 0, live.Errorf(live.CodeBadRequest, "limit %.16q is no number from 1 to %d", text, maxRows)
	}
	return n, nil
}

// time reads an RFC 3339 time; zero if it is not given.
func (p *params) time(name string) (time.Time, error) {
	if p.text(name) == "" {
		return time.Time{}, nil
	}
	f, err := live.ParseFrom(p.text(name))
	if err != nil || f.Kind != live.FromTime {
		return time.Time{}, live.Errorf(live.CodeBadFrom, "%s %.40q is no time as 2026-11-25T15:30:00Z", name, p.text(name))
	}
	return f.Time, nil
}

// The lengths of buckets.
const (
	maxBucket  = 366 * 24 * time.Hour
	maxBuckets = 50_000
)

// bucket reads a length such as 1s, 5m, 4h, 1d, 1w.
func (p *params) bucket(name string) (time.Duration, error) {
	text := p.text(name)
	bad := live.Errorf(live.CodeBadInterval, "%s %.16q is no length such as 1s, 5m, 4h, 1d or 1w, of a year at most", name, text)
	if len(text) < 2 || len(text) > 6 {
		return 0, bad
	}
	unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[text[len(text)-1]]
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 32)
	if unit == 0 || err != nil || n == 0 || n > uint64(maxBucket/unit) {
		return 0, bad
	}
	return time.Duration(n) * unit, nil
}

// span reads from and to of buckets; without them it ends now and holds a default number of buckets.
func (p *params) span(bucket time.Duration) (from, to time.Time, err error) {
	if from, err = p.time("from"); err != nil {
		return
	}
	if to, err = p.time("to"); err != nil {
		return
	}
	if to.IsZero() {
		to = time.Now().UTC()
	}
	if from.IsZero() {
		from = to.Add(-500 * bucket)
	}
	if !from.Before(to) {
		return from, to, live.Errorf(live.CodeBadRequest, "from is not before to")
	}
	if to.Sub(from)/bucket > maxBuckets {
		return from, to, live.Errorf(live.CodeBadRequest, "from and to are more than %d intervals apart; ask for a part or a longer interval", maxBuckets)
	}
	return floor(from, bucket), floor(to.Add(bucket-1), bucket), nil
}

// monday is where weeks begin: 1970-01-01 was a Thursday.
const monday = 4 * 24 * time.Hour

// floor is the start of the bucket that holds t: buckets are counted from 1970, those of weeks from a Monday.
func floor(t time.Time, bucket time.Duration) time.Time {
	off := int64(origin(bucket))
	ns := t.UnixNano() - off
	rest := ns % int64(bucket)
	if rest < 0 {
		rest += int64(bucket)
	}
	return time.Unix(0, ns-rest+off).UTC()
}

func origin(bucket time.Duration) time.Duration {
	if bucket%(7*24*time.Hour) == 0 {
		return monday
	}
	return 0
}
