package hashprice

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// wireBlock is a block as mempool.space sends it, in pushes and by REST alike. Amounts are satoshi, timestamp Unix seconds.
type wireBlock struct {
	ID         string      `json:"id"`
	Height     *uint64     `json:"height"`
	Timestamp  int64       `json:"timestamp"`
	Difficulty json.Number `json:"difficulty"`
	TxCount    uint32      `json:"tx_count"`
	Size       uint32      `json:"size"`
	Weight     uint32      `json:"weight"`
	Previous   string      `json:"previousblockhash"`
	Extras     *struct {
		TotalFees *int64 `json:"totalFees"`
		Reward    *int64 `json:"reward"`
		Pool      *struct {
			Name string `json:"name"`
		} `json:"pool"`
	} `json:"extras"`
}

// decodeBlock reads one block. Its subsidy is what the miner took beyond the fees.
func decodeBlock(raw []byte, recv time.Time) (*market.Block, error) {
	var w wireBlock
	if err := feed.DecodeJSON(raw, &w); err != nil {
		return nil, err
	}
	switch {
	case w.Height == nil:
		return nil, feed.Missing("height")
	case w.Timestamp == 0:
		return nil, feed.Missing("timestamp")
	case w.Extras == nil || w.Extras.TotalFees == nil || w.Extras.Reward == nil:
		return nil, feed.Missing("extras.totalFees or extras.reward")
	}
	d, err := number("difficulty", w.Difficulty)
	if err != nil {
		return nil, err
	}
	b := &market.Block{
		Meta:   market.Meta{EventTime: seconds(w.Timestamp), RecvTime: recv},
		Height: *w.Height, Hash: w.ID, PreviousHash: w.Previous, Difficulty: d,
		FeesSat: *w.Extras.TotalFees, RewardSat: *w.Extras.Reward,
		TxCount: w.TxCount, SizeBytes: w.Size, WeightUnits: w.Weight,
	}
	b.SubsidySat = b.RewardSat - b.FeesSat
	if w.Extras.Pool != nil {
		b.Pool = w.Extras.Pool.Name
	}
	return b, plausibleHeight(b)
}

// plausibleHeight refuses a block that the chain cannot have yet: one with a wild height would be our tip, and every true block below it old.
// Ten minutes a block are the chain's mean, five its limit by far.
func plausibleHeight(b *market.Block) error {
	if most := b.EventTime.Sub(genesis()) / (5 * time.Minute); b.Height > uint64(max(most, 0)) {
		return &feed.Malformed{Reason: market.ReasonValue, Err: fmt.Errorf("height %d cannot be reached by %s", b.Height, b.EventTime.Format(time.DateOnly))}
	}
	return nil
}

// genesis is when the chain began.
func genesis() time.Time { return time.Date(2009, 1, 3, 18, 15, 5, 0, time.UTC) }

// decodeBlocks reads an array of blocks, as far as it can: a bad element costs itself only.
func decodeBlocks(raw []byte, recv time.Time) ([]*market.Block, error) {
	var elements []json.RawMessage
	if err := feed.DecodeJSON(raw, &elements); err != nil {
		return nil, err
	}
	var errs []error
	blocks := make([]*market.Block, 0, len(elements))
	for i, e := range elements {
		b, err := decodeBlock(e, recv)
		if err != nil {
			errs = append(errs, fmt.Errorf("block %d of %d: %w", i+1, len(elements), err))
			continue
		}
		blocks = append(blocks, b)
	}
	slices.SortStableFunc(blocks, func(a, b *market.Block) int {
		if a.Height < b.Height {
			return -1
		}
		if a.Height > b.Height {
			return 1
		}
		return 0
	})
	return blocks, errors.Join(errs...)
}

// wireFees are sat/vB.
type wireFees struct {
	Fastest  json.Number `json:"fastestFee"`
	HalfHour json.Number `json:"halfHourFee"`
	Hour     json.Number `json:"hourFee"`
	Economy  json.Number `json:"economyFee"`
	Minimum  json.Number `json:"minimumFee"`
}

func decodeFees(raw []byte) (*market.Fees, error) {
	var w wireFees
	if err := feed.DecodeJSON(raw, &w); err != nil {
		return nil, err
	}
	var f market.Fees
	for _, x := range []struct {
		name string
		from json.Number
		to   *market.Decimal
	}{
		{"fastestFee", w.Fastest, &f.FastestSatPerVB},
		{"halfHourFee", w.HalfHour, &f.HalfHourSatPerVB},
		{"hourFee", w.Hour, &f.HourSatPerVB},
		{"economyFee", w.Economy, &f.EconomySatPerVB},
		{"minimumFee", w.Minimum, &f.MinimumSatPerVB},
	} {
		d, err := number(x.name, x.from)
		if err != nil {
			return nil, err
		}
		// Rates are quotients in JavaScript numbers of up to 17 digits: eight decimals are what is stored.
		*x.to = d.Round(8)
	}
	return &f, nil
}

// adjustment is the state of the difficulty adjustment ("da"). Its times are a mix: estimatedRetargetDate and remainingTime are
// milliseconds, previousTime alone is seconds.
type adjustment struct {
	DifficultyChange   *float64 `json:"difficultyChange"`      // expected, percent
	EstimatedMs        float64  `json:"estimatedRetargetDate"` // Unix ms
	RemainingBlocks    *uint32  `json:"remainingBlocks"`
	RemainingTimeMs    float64  `json:"remainingTime"`
	PreviousRetarget   *float64 `json:"previousRetarget"` // percent
	NextRetargetHeight uint64   `json:"nextRetargetHeight"`
}

func decodeAdjustment(raw []byte) (*adjustment, error) {
	var a adjustment
	if err := feed.DecodeJSON(raw, &a); err != nil {
		return nil, err
	}
	switch {
	case a.RemainingBlocks == nil:
		return nil, feed.Missing("remainingBlocks")
	case a.NextRetargetHeight < uint64(*a.RemainingBlocks) || a.NextRetargetHeight > 1<<40 || *a.RemainingBlocks > retargetBlocks:
		return nil, &feed.Malformed{Reason: market.ReasonIncoherent, Err: fmt.Errorf(
			"%d blocks remain to the retarget at height %d", *a.RemainingBlocks, a.NextRetargetHeight)}
	}
	return &a, nil
}

// tip is the height of the newest block when the adjustment was told.
func (a *adjustment) tip() uint64 { return a.NextRetargetHeight - uint64(*a.RemainingBlocks) }

// serverTime is the upstream's clock, which no push carries openly: the estimated date of the retarget was made by adding the remaining
// time to it. It is whole seconds. ok is false where the figures give no plausible time.
func (a *adjustment) serverTime() (t time.Time, ok bool) {
	ms := a.EstimatedMs - a.RemainingTimeMs
	// The sum is milliseconds only in backends newer than 2022; older ones sent seconds, and then this is not their clock.
	if ms < 1.3e12 || ms > 9e12 || a.RemainingTimeMs < 0 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(ms + 0.5)).UTC().Truncate(time.Second), true
}

// decodeConversions reads mempool's own price of bitcoin in whole dollars: a median of five exchanges, some minutes old, so a reference and
// never an input of the live hashprice. nil without error means that it does not know (-1).
func decodeConversions(raw []byte) (*market.BTCPrice, error) {
	var w struct {
		Time int64       `json:"time"`
		USD  json.Number `json:"USD"`
	}
	if err := feed.DecodeJSON(raw, &w); err != nil {
		return nil, err
	}
	if w.Time == 0 {
		return nil, feed.Missing("time")
	}
	usd, err := number("USD", w.USD)
	if err != nil {
		return nil, err
	}
	if usd.Cmp(market.MustDecimal("-1")) == 0 {
		return nil, nil //nolint:nilnil // "unknown" is an answer of the protocol
	}
	return &market.BTCPrice{Meta: market.Meta{EventTime: seconds(w.Time)}, PriceUSD: usd}, nil
}

// push is one websocket message: it has no type, only keys, and may hold many.
type push struct {
	Blocks      []*market.Block // of "block" or "blocks", ascending
	Snapshot    bool            // "blocks": the newest the upstream has; what we have above them is no longer true
	Fees        *market.Fees
	Adjustment  *adjustment
	Conversions *market.BTCPrice
}

// ignoredKeys are of the protocol and of no use to us.
func ignoredKey(k string) bool {
	switch k {
	case "mempoolInfo", "vBytesPerSecond", "mempool-blocks", "live-2h-chart", "loadingIndicators", "backendInfo", "transactions", "pong",
		"previousRetarget", "rbfLatestSummary", "txPosition", "projected-block-transactions", "backend":
		return true
	}
	return false
}

// decodePush dispatches on the keys. A key that is bad costs itself only: what else the message says is returned beside the error.
func decodePush(data []byte, recv time.Time) (push, error) {
	var keys map[string]json.RawMessage
	if err := feed.DecodeJSON(data, &keys); err != nil {
		return push{}, err
	}
	var (
		p     push
		errs  []error
		known bool
	)
	note := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	for _, key := range []string{"blocks", "block", "fees", "da", "conversions"} {
		raw, ok := keys[key]
		if !ok {
			continue
		}
		known = true
		if string(raw) == "null" {
			continue
		}
		var err error
		switch key {
		case "blocks":
			p.Blocks, err = decodeBlocks(raw, recv)
			p.Snapshot = len(p.Blocks) > 0
		case "block":
			var b *market.Block
			if b, err = decodeBlock(raw, recv); err == nil {
				p.Blocks = append(p.Blocks, b)
			}
		case "fees":
			p.Fees, err = decodeFees(raw)
		case "da":
			p.Adjustment, err = decodeAdjustment(raw)
		case "conversions":
			p.Conversions, err = decodeConversions(raw)
		}
		note(key, err)
	}
	if !known {
		for k := range keys {
			known = known || ignoredKey(k)
		}
		if !known && len(keys) > 0 {
			errs = append(errs, &feed.Malformed{Reason: feed.ReasonUnknownType, Err: errors.New("no key of the message is known")})
		}
	}
	return p, errors.Join(errs...)
}
