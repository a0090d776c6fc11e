package hashprice

import (
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Methods of published hashprices, as they stand in the rows.
const (
	methodLuxor       = "luxor"
	methodBraiins     = "braiins"
	methodCoinMetrics = "coinmetrics-daily"
)

// mostUSD is more than a PH/s has ever earned in a day by far; above it the unit is another than was asked for.
const mostUSD = 1e6

func published(method string, at, recv time.Time) *market.Hashprice {
	return &market.Hashprice{Meta: market.Meta{EventTime: at.UTC(), RecvTime: recv}, Method: method, Published: true}
}

func plausibleUSD(d market.Decimal) error {
	if f, ok := d.Float64(); !ok || f > mostUSD {
		return &feed.Malformed{Reason: market.ReasonPrice, Err: fmt.Errorf("%s USD per PH/s and day", d)}
	}
	return nil
}

// decodeLuxor reads the index, USD per PH/s and day as it was asked for. Its prices are JSON numbers with float noise, and are rounded to what
// we publish ourselves.
func decodeLuxor(resp *feed.Response) ([]*market.Hashprice, error) {
	var w struct {
		Data []struct {
			Price     json.Number `json:"price"`
			Timestamp string      `json:"timestamp"`
		} `json:"data"`
	}
	if err := feed.DecodeJSON(resp.Body, &w); err != nil {
		return nil, err
	}
	if w.Data == nil {
		return nil, feed.Missing("data")
	}
	out := make([]*market.Hashprice, 0, len(w.Data))
	for i, x := range w.Data {
		at, err := time.Parse(time.RFC3339Nano, x.Timestamp)
		if err != nil {
			return nil, wrongType(fmt.Sprintf("data %d: timestamp", i+1), err)
		}
		p := published(methodLuxor, at, resp.Recv)
		if p.HashpriceUSD, err = rounded("price", x.Price, hashpriceUSDScale); err != nil {
			return nil, fmt.Errorf("data %d: %w", i+1, err)
		}
		if err := plausibleUSD(p.HashpriceUSD); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// rounded reads a number of any length and rounds it.
func rounded(field string, n json.Number, scale int) (market.Decimal, error) {
	if n == "" {
		return market.Decimal{}, feed.Missing(field)
	}
	if len(n) > 64 {
		return market.Decimal{}, wrongType(field, fmt.Errorf("a number of %d characters", len(n)))
	}
	// An exponent of millions would be a fraction of millions of digits: floats know none, and neither do prices.
	if f, err := n.Float64(); err != nil || f != 0 && (f < 1e-40 && f > -1e-40) {
		return market.Decimal{}, wrongType(field, fmt.Errorf("%.64q is no price", n))
	}
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		return market.Decimal{}, wrongType(field, fmt.Errorf("%.64q is no number", n))
	}
	d, err := round(r, scale)
	if err != nil {
		return market.Decimal{}, wrongType(field, err)
	}
	return d, nil
}

// decodeBraiins reads hashrate-stats. Its prices are per TH/s and rounded hard: 0.039 USD is anything from 38.5 to 39.5 per PH/s. It tells no
// time: it is the Date header's, or that of receipt.
func decodeBraiins(resp *feed.Response) ([]*market.Hashprice, error) {
	var w struct {
		HashPrice json.Number `json:"hash_price"`       // USD per TH/s and day
		HashValue json.Number `json:"hash_value"`       // BTC per TH/s and day
		Hashrate  json.Number `json:"current_hashrate"` // EH/s
	}
	if err := feed.DecodeJSON(resp.Body, &w); err != nil {
		return nil, err
	}
	at := resp.Date
	if at.IsZero() {
		at = resp.Recv
	}
	p := published(methodBraiins, at, resp.Recv)
	perTH, err := number("hash_price", w.HashPrice)
	if err != nil {
		return nil, err
	}
	if p.HashpriceUSD, err = round(new(big.Rat).Mul(rat(perTH), ratInt(1000)), hashpriceUSDScale); err != nil {
		return nil, wrongType("hash_price", err)
	}
	if err := plausibleUSD(p.HashpriceUSD); err != nil {
		return nil, err
	}
	p.Inputs = map[string]string{"hash_price_usd_per_th": perTH.String()}
	if w.HashValue != "" {
		v, err := number("hash_value", w.HashValue)
		if err != nil {
			return nil, err
		}
		p.Inputs["hash_value_btc_per_th"] = v.String()
		if p.HashpriceBTC, err = round(new(big.Rat).Mul(rat(v), ratInt(1000)), hashpriceBTCScale); err != nil {
			return nil, wrongType("hash_value", err)
		}
	}
	if w.Hashrate != "" {
		if p.NetworkEHs, err = rounded("current_hashrate", w.Hashrate, networkEHsScale); err != nil {
			return nil, err
		}
	}
	return []*market.Hashprice{p}, nil
}

// coinPage is a page of Coin Metrics' daily figures.
type coinPage struct {
	days []*market.Hashprice
	next string // the token of the next page; empty: none
}

// decodeCoinMetrics computes (issuance + fees) in dollars over the hashrate, of each day that has all four figures. Values are strings.
func decodeCoinMetrics(resp *feed.Response) (coinPage, error) {
	var w struct {
		Data []struct {
			Asset    string      `json:"asset"`
			Time     string      `json:"time"`
			PriceUSD json.Number `json:"PriceUSD"`
			HashRate json.Number `json:"HashRate"` // TH/s
			Issued   json.Number `json:"IssTotUSD"`
			Fees     json.Number `json:"FeeTotNtv"` // BTC
		} `json:"data"`
		Next  string `json:"next_page_token"`
		Error *struct {
			Type    string `json:"type"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := feed.DecodeJSON(resp.Body, &w); err != nil {
		return coinPage{}, err
	}
	if w.Error != nil {
		return coinPage{}, &feed.Malformed{Reason: feed.ReasonProtocol, Err: fmt.Errorf("the upstream says %.64q: %.200q", w.Error.Type, w.Error.Message)}
	}
	if w.Data == nil {
		return coinPage{}, feed.Missing("data")
	}
	page := coinPage{next: w.Next}
	for i, x := range w.Data {
		at, err := time.Parse(time.RFC3339Nano, x.Time)
		if err != nil {
			return coinPage{}, wrongType(fmt.Sprintf("data %d: time", i+1), err)
		}
		if x.Asset != "btc" || x.PriceUSD == "" || x.HashRate == "" || x.Issued == "" || x.Fees == "" {
			continue // a day of which a figure is not there yet
		}
		p, err := coinDay(at, resp.Recv, x.PriceUSD, x.HashRate, x.Issued, x.Fees)
		if err != nil {
			return coinPage{}, fmt.Errorf("data %d (%s): %w", i+1, at.Format(time.DateOnly), err)
		}
		page.days = append(page.days, p)
	}
	return page, nil
}

func coinDay(at, recv time.Time, price, hashrate, issued, fees json.Number) (*market.Hashprice, error) {
	var v [4]*big.Rat
	for i, x := range []struct {
		name string
		n    json.Number
	}{{"PriceUSD", price}, {"HashRate", hashrate}, {"IssTotUSD", issued}, {"FeeTotNtv", fees}} {
		if _, err := rounded(x.name, x.n, 0); err != nil { // bounds its length and size
			return nil, err
		}
		r, ok := new(big.Rat).SetString(x.n.String())
		if !ok || r.Sign() < 0 || r.Sign() == 0 && i < 3 {
			return nil, &feed.Malformed{Reason: market.ReasonValue, Err: fmt.Errorf("%s is %.64q", x.name, x.n)}
		}
		v[i] = r
	}
	usd, rate := v[0], new(big.Rat).Quo(v[1], ratInt(1000)) // PH/s
	total := new(big.Rat).Add(v[2], new(big.Rat).Mul(v[3], usd))
	perDay := total.Quo(total, rate)
	p := published(methodCoinMetrics, at, recv)
	p.Backfill = true
	var err1, err2, err3 error
	p.HashpriceUSD, err1 = round(perDay, hashpriceUSDScale)
	p.HashpriceBTC, err2 = round(new(big.Rat).Quo(perDay, usd), hashpriceBTCScale)
	p.BTCUSD, err3 = round(usd, btcusdScale)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return nil, wrongType("a figure", err)
		}
	}
	p.Inputs = map[string]string{"PriceUSD": price.String(), "HashRate": hashrate.String(), "IssTotUSD": issued.String(), "FeeTotNtv": fees.String()}
	return p, plausibleUSD(p.HashpriceUSD)
}
