package market

import (
	"math"
	"strconv"
)

// Block is a bitcoin block as the network reports it. A reorganised height is told again with a greater Rev and another hash.
type Block struct {
	Meta
	Height       uint64
	Hash         string
	PreviousHash string
	Difficulty   Decimal
	// SubsidySat + FeesSat = RewardSat, in satoshi.
	SubsidySat  int64
	FeesSat     int64
	RewardSat   int64
	TxCount     uint32
	SizeBytes   uint32
	WeightUnits uint32
	Pool        string
}

// Stream implements Event.
func (*Block) Stream() Stream { return Network }

// Tokens implements Event: md.v1.network.block.<source>.
func (b *Block) Tokens() (string, []string) { return "network", []string{"block", b.Source} }

// Identity implements Event: the block and, from the first reorganisation on, its revision, since a branch that lost may win after all and
// is then told again.
func (b *Block) Identity() string {
	id := "block|" + b.Source + "|" + strconv.FormatUint(b.Height, 10) + "|" + b.Hash
	if b.Rev > 0 {
		id += "|" + strconv.FormatUint(uint64(b.Rev), 10)
	}
	return id
}

// Validate implements Event.
func (b *Block) Validate() error {
	err := first(b.validate(), checkText("hash", b.Hash))
	switch {
	case err != nil:
		return err
	case !b.Difficulty.IsPos():
		return invalid(ReasonValue, "difficulty is %s, not above 0", b.Difficulty)
	case b.FeesSat < 0 || b.SubsidySat < 0:
		return invalid(ReasonValue, "fees %d and subsidy %d sat must not be below 0", b.FeesSat, b.SubsidySat)
	case b.SubsidySat+b.FeesSat != b.RewardSat:
		return invalid(ReasonIncoherent, "subsidy %d + fees %d sat is not the reward of %d", b.SubsidySat, b.FeesSat, b.RewardSat)
	}
	return nil
}

// Difficulty is a state of the difficulty adjustment: the difficulty in force and, live, the expected next change.
type Difficulty struct {
	Meta
	// Height of the tip for a live report; of the retarget for history.
	Height     uint64
	Difficulty Decimal
	// ChangePercent of the last retarget; EstimatedChangePercent of the next (NaN where history has none).
	ChangePercent          float64
	EstimatedChangePercent float64
	RemainingBlocks        uint32
	NextRetargetHeight     uint64
}

// Stream implements Event.
func (*Difficulty) Stream() Stream { return Network }

// Tokens implements Event: md.v1.network.difficulty.<source>.
func (d *Difficulty) Tokens() (string, []string) { return "network", []string{"difficulty", d.Source} }

// Identity implements Event.
func (d *Difficulty) Identity() string {
	return "difficulty|" + d.Source + "|" + strconv.FormatUint(d.Height, 10) + "|" + d.Difficulty.String() + "|" +
		strconv.FormatUint(uint64(d.RemainingBlocks), 10)
}

// Validate implements Event.
func (d *Difficulty) Validate() error {
	if !d.Difficulty.IsPos() {
		return invalid(ReasonValue, "difficulty is %s, not above 0", d.Difficulty)
	}
	if math.IsInf(d.ChangePercent, 0) || math.IsInf(d.EstimatedChangePercent, 0) {
		return invalid(ReasonValue, "difficulty change is infinite")
	}
	return d.validate()
}

// Fees are the recommended fee rates of the mempool, sat/vB.
type Fees struct {
	Meta
	FastestSatPerVB  Decimal
	HalfHourSatPerVB Decimal
	HourSatPerVB     Decimal
	EconomySatPerVB  Decimal
	MinimumSatPerVB  Decimal
}

// Stream implements Event.
func (*Fees) Stream() Stream { return Network }

// Tokens implements Event: md.v1.network.fees.<source>.
func (f *Fees) Tokens() (string, []string) { return "network", []string{"fees", f.Source} }

// Identity implements Event.
func (f *Fees) Identity() string {
	return "fees|" + f.Source + "|" + strconv.FormatInt(f.EventTime.UnixNano(), 10) + "|" + f.FastestSatPerVB.String() + "|" +
		f.HalfHourSatPerVB.String() + "|" + f.HourSatPerVB.String() + "|" + f.EconomySatPerVB.String() + "|" + f.MinimumSatPerVB.String()
}

// Validate implements Event.
func (f *Fees) Validate() error {
	return first(f.validate(), checkSize("fastest fee", f.FastestSatPerVB), checkSize("half-hour fee", f.HalfHourSatPerVB),
		checkSize("hour fee", f.HourSatPerVB), checkSize("economy fee", f.EconomySatPerVB), checkSize("minimum fee", f.MinimumSatPerVB))
}

// BTCPrice is a spot price of bitcoin at one venue.
type BTCPrice struct {
	Meta
	PriceUSD Decimal
	BidUSD   Decimal // 0: not given
	AskUSD   Decimal // 0: not given
	// Volume24hBTC traded at the venue; 0: not given.
	Volume24hBTC Decimal
	// VenueSeq is the venue's own sequence number; 0: none.
	VenueSeq uint64
}

// Stream implements Event.
func (*BTCPrice) Stream() Stream { return Network }

// Tokens implements Event: md.v1.network.btcusd.<source>.
func (p *BTCPrice) Tokens() (string, []string) { return "network", []string{"btcusd", p.Source} }

// Identity implements Event.
func (p *BTCPrice) Identity() string {
	return "btcusd|" + p.Source + "|" + strconv.FormatInt(p.EventTime.UnixNano(), 10) + "|" + p.PriceUSD.String() + "|" +
		strconv.FormatUint(p.VenueSeq, 10)
}

// Validate implements Event.
func (p *BTCPrice) Validate() error {
	return first(p.validate(), checkPrice("price", p.PriceUSD), checkPriceOrNone("bid", p.BidUSD), checkPriceOrNone("ask", p.AskUSD),
		checkSize("volume", p.Volume24hBTC))
}

// Hashprice is the expected income of one PH/s for one day, with everything that it was computed from (DESIGN.md, "Numbers").
type Hashprice struct {
	Meta
	// Method names the formula and its inputs: "tip144" (difficulty of the tip, fees of the last 144 blocks, live price) or
	// "daily" (difficulty, mean fees and price of a whole UTC day).
	Method     string
	Height     uint64
	Difficulty Decimal
	SubsidySat int64
	// MeanFeesSat per block over FeeWindowBlocks blocks.
	MeanFeesSat     Decimal
	FeeWindowBlocks uint32
	BTCUSD          Decimal
	BTCUSDSource    string
	// BTCUSDAgeMs is how old the price was when the hashprice was computed; 0 for a daily one.
	BTCUSDAgeMs int64
	// HashpriceBTC in BTC per PH/s per day, HashpriceSat the same in satoshi, HashpriceUSD in dollars.
	HashpriceBTC Decimal
	HashpriceSat Decimal
	HashpriceUSD Decimal
	// NetworkEHs is the hashrate that the difficulty implies, EH/s.
	NetworkEHs Decimal
	// Inputs are further inputs by name, such as the prices that BTCUSD is the median of, with their ages.
	Inputs map[string]string
	// Published says that the source told the value and we did not compute it: components may be 0, which is not given.
	Published bool
}

// Stream implements Event.
func (*Hashprice) Stream() Stream { return Hashprices }

// Tokens implements Event: md.v1.hashprice.<method>.
func (h *Hashprice) Tokens() (string, []string) { return "hashprice", []string{h.Method} }

// Identity implements Event.
func (h *Hashprice) Identity() string {
	return h.Source + "|" + h.Method + "|" + strconv.FormatInt(h.EventTime.UnixNano(), 10) + "|" + strconv.FormatUint(h.Height, 10) + "|" +
		strconv.FormatUint(uint64(h.Rev), 10)
}

// Validate implements Event.
func (h *Hashprice) Validate() error {
	err := first(h.validate(), checkText("method", h.Method))
	if err == nil && h.Published {
		return h.validatePublished()
	}
	if err == nil {
		err = checkPrice("BTC-USD", h.BTCUSD)
	}
	switch {
	case err != nil:
		return err
	case !h.Difficulty.IsPos():
		return invalid(ReasonValue, "difficulty is %s, not above 0", h.Difficulty)
	case !h.HashpriceBTC.IsPos() || !h.HashpriceUSD.IsPos():
		return invalid(ReasonPrice, "hashprice %s BTC, %s USD per PH/s per day is not above 0", h.HashpriceBTC, h.HashpriceUSD)
	case h.MeanFeesSat.IsNeg() || h.SubsidySat < 0:
		return invalid(ReasonValue, "mean fees %s and subsidy %d sat must not be below 0", h.MeanFeesSat, h.SubsidySat)
	}
	return nil
}

// validatePublished checks a value that its source computed: in dollars or in bitcoin, the rest may be absent.
func (h *Hashprice) validatePublished() error {
	switch {
	case h.HashpriceBTC.IsNeg() || h.HashpriceUSD.IsNeg() || h.HashpriceBTC.IsZero() && h.HashpriceUSD.IsZero():
		return invalid(ReasonPrice, "published hashprice %s BTC, %s USD per PH/s per day is not above 0", h.HashpriceBTC, h.HashpriceUSD)
	case h.Difficulty.IsNeg() || h.MeanFeesSat.IsNeg() || h.SubsidySat < 0 || h.NetworkEHs.IsNeg():
		return invalid(ReasonValue, "difficulty %s, mean fees %s, subsidy %d sat, network %s EH/s must not be below 0", h.Difficulty, h.MeanFeesSat,
			h.SubsidySat, h.NetworkEHs)
	}
	return checkPriceOrNone("BTC-USD", h.BTCUSD)
}
