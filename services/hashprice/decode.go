package hashprice

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

func wrongType(field string, err error) error {
	return &feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf("%s: %w", field, err)}
}

// number reads a JSON number's text exactly. An empty one is missing.
func number(field string, n json.Number) (market.Decimal, error) {
	if n == "" {
		return market.Decimal{}, feed.Missing(field)
	}
	d, err := market.ParseDecimal(n.String())
	if err != nil {
		return market.Decimal{}, wrongType(field, err)
	}
	return d, nil
}

// text reads a decimal that the venue sends as a string; an empty one is 0, "not given".
func text(field, s string) (market.Decimal, error) {
	if s == "" {
		return market.Decimal{}, nil
	}
	d, err := market.ParseDecimal(s)
	if err != nil {
		return market.Decimal{}, wrongType(field, err)
	}
	return d, nil
}

// seconds is a Unix time in whole seconds; times outside 1970 to 2262 are left for the event's own check to refuse.
func seconds(s int64) time.Time {
	if s < 0 || s > math.MaxInt64/int64(time.Second) {
		return time.Time{}
	}
	return time.Unix(s, 0).UTC()
}
