package gpurates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// catalogue is a list of all that an upstream offers, decoded from one or more answers.
type catalogue struct {
	answer
	skipped int // entries that are no offer of GPUs: machines without, prices not quoted
}

// whole is the list of an upstream that has one.
func whole(from string, fetch func(ctx context.Context) (*answer, error)) *list {
	return &list{name: "*", from: from, fetch: fetch, owns: func(*market.Offer) bool { return true }}
}

// each decodes the entries one by one: a bad one costs itself only. decode returns the id as soon as it has read it, and no offers for an
// entry that is none.
func (c *catalogue) each(raws []json.RawMessage, decode func(raw []byte) (id string, offers []*market.Offer, err error)) {
	for _, raw := range raws {
		id, offers, err := decode(raw)
		switch {
		case err != nil:
			c.Bad = append(c.Bad, badOffer{id, raw, err})
		case len(offers) == 0:
			c.skipped++
		default:
			c.Offers = append(c.Offers, offers...)
		}
	}
}

// stamp takes the times of an answer; of several, the oldest clock and the newest receipt.
func (c *catalogue) stamp(r *feed.Response) {
	if c.At.IsZero() || !r.Date.IsZero() && r.Date.Before(c.At) {
		c.At = r.Date
	}
	if r.Recv.After(c.Recv) {
		c.Recv = r.Recv
	}
	c.End = c.End || r.Header.Get(endHeader) == endValue
}

// done refuses a catalogue without an entry: none of these upstreams has ever nothing to list, and all offers would be told as closed.
func (c *catalogue) done() (*answer, error) {
	if len(c.Offers)+len(c.Bad)+c.skipped == 0 {
		return nil, protocol("the catalogue is empty")
	}
	return &c.answer, nil
}

// offered is an offer with what all catalogues have in common. Clouds vouch for their own machines.
func offered(provider string, class market.Class, gpus uint32) *market.Offer {
	return &market.Offer{Provider: provider, Class: class, GPUCount: gpus, Verified: true, Reliability: math.NaN()}
}

// quoted reads a price. ok is false where there is none: null, missing or 0.
func quoted(field string, n json.Number) (_ *big.Rat, ok bool, _ error) {
	if n == "" {
		return nil, false, nil
	}
	r, err := dollars(field, n)
	if err != nil {
		return nil, false, err
	}
	return r, r.Sign() != 0, nil
}

// gib is memory in MiB from a number of GiB; what cannot be a card's is an error.
func gib(field string, n json.Number) (uint32, error) {
	if n == "" {
		return 0, nil
	}
	f, err := n.Float64()
	if err != nil || f < 0 || f > 1<<14 {
		return 0, impossible("%s is %.40q", field, n.String())
	}
	return uint32(f * 1024), nil
}

func impossible(format string, args ...any) error {
	return &feed.Malformed{Reason: market.ReasonValue, Err: fmt.Errorf(format, args...)}
}

func protocol(format string, args ...any) error {
	return &feed.Malformed{Reason: feed.ReasonProtocol, Err: fmt.Errorf(format, args...)}
}

// inUSD refuses another currency: nothing here converts.
func inUSD(currency string) error {
	if currency != "" && currency != "USD" {
		return impossible("currency is %.16q, not USD", currency)
	}
	return nil
}

// sellers are further names, folded, that resellers have for a cloud. One cloud under two names would count twice.
var sellers = map[string]string{
	"lambdalabs": "lambda", "lambdacloud": "lambda", "vastai": "vast", "crusoecloud": "crusoe", "microsoft": "azure", "microsoftazure": "azure",
	"akashnetwork": "akash", "nebiusai": "nebius", "verda": "datacrunch", // its new name
}

// seller is a reseller's provider by the name that we have for it: lower case, without spaces and punctuation.
func seller(name string) string {
	n := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(name))
	if s, ok := sellers[n]; ok {
		return s
	}
	return n
}

// bearer is the header of most upstreams.
func bearer(u UpstreamConfig) http.Header {
	h := http.Header{"Accept": {"application/json"}}
	if k := u.APIKey.Reveal(); k != "" {
		h.Set("Authorization", "Bearer "+k)
	}
	return h
}

// maxPages bounds a paged catalogue: more is a loop.
const maxPages = 200

var errEndless = errors.New("the pages do not end")

// available tells whether an upstream's word for its stock means that something can be rented.
func available(stock string) bool {
	switch strings.ToLower(strings.ReplaceAll(stock, "_", " ")) {
	case "", "none", "unavailable", "out of stock", "sold out":
		return false
	}
	return true
}
