package mempool

// The wire's messages. Amounts are satoshi; times are Unix seconds but where the name says Ms.

type block struct {
	ID         string  `json:"id"`
	Height     int64   `json:"height"`
	Version    int64   `json:"version"`
	Timestamp  int64   `json:"timestamp"`
	Bits       uint32  `json:"bits"`
	Nonce      uint32  `json:"nonce"`
	Difficulty float64 `json:"difficulty"`
	MerkleRoot string  `json:"merkle_root"`
	TxCount    int64   `json:"tx_count"`
	Size       int64   `json:"size"`
	Weight     int64   `json:"weight"`
	Previous   string  `json:"previousblockhash"`
	MedianTime int64   `json:"mediantime"`
	Stale      bool    `json:"stale"`
	Extras     extras  `json:"extras"`
}

type extras struct {
	TotalFees   int64     `json:"totalFees"`
	MedianFee   float64   `json:"medianFee"`
	FeeRange    []float64 `json:"feeRange"`
	Reward      int64     `json:"reward"`
	Pool        pool      `json:"pool"`
	AvgFee      int64     `json:"avgFee"`
	AvgFeeRate  int64     `json:"avgFeeRate"`
	AvgTxSize   float64   `json:"avgTxSize"`
	VirtualSize float64   `json:"virtualSize"`
	FirstSeen   *int64    `json:"firstSeen"`
	Orphans     []string  `json:"orphans"`
	MatchRate   *float64  `json:"matchRate"`
}

type pool struct {
	ID         int     `json:"id"`
	Name       string  `json:"name"`
	Slug       string  `json:"slug"`
	MinerNames *string `json:"minerNames"`
}

type retarget struct {
	time       int64
	height     int64
	difficulty float64
	ratio      float64
}

// dayRow is the mean of one UTC day's blocks.
type dayRow struct {
	height  int64
	time    int64
	fees    int64
	rewards int64
}

type price struct {
	Time int64   `json:"time"`
	USD  float64 `json:"USD"`
}

// adjustment is "da". A recording lacks what is nil.
type adjustment struct {
	ProgressPercent       *float64 `json:"progressPercent,omitempty"`
	DifficultyChange      *float64 `json:"difficultyChange,omitempty"`
	EstimatedRetargetDate int64    `json:"estimatedRetargetDate"` // ms
	RemainingBlocks       int64    `json:"remainingBlocks"`
	RemainingTime         int64    `json:"remainingTime"` // ms
	PreviousRetarget      *float64 `json:"previousRetarget,omitempty"`
	PreviousTime          int64    `json:"previousTime,omitempty"` // s
	NextRetargetHeight    int64    `json:"nextRetargetHeight"`
	TimeAvg               int64    `json:"timeAvg"`         // ms
	AdjustedTimeAvg       int64    `json:"adjustedTimeAvg"` // ms
	TimeOffset            int64    `json:"timeOffset"`
	ExpectedBlocks        *float64 `json:"expectedBlocks,omitempty"`
}

type fees struct {
	Fastest  int64 `json:"fastestFee"`
	HalfHour int64 `json:"halfHourFee"`
	Hour     int64 `json:"hourFee"`
	Economy  int64 `json:"economyFee"`
	Minimum  int64 `json:"minimumFee"`
}

// newAdjustment fills in what follows from the height, the mean block time and the clock.
func newAdjustment(height int64, blockMs, unix int64) adjustment {
	next := (height/2016 + 1) * 2016
	remaining := next - height
	return adjustment{
		EstimatedRetargetDate: unix*1000 + remaining*blockMs, RemainingBlocks: remaining, RemainingTime: remaining * blockMs,
		NextRetargetHeight: next, TimeAvg: blockMs, AdjustedTimeAvg: blockMs,
	}
}

// conversions is a price in whole dollars; currencies that are not simulated are unknown: -1.
func conversions(unix, usd int64) map[string]int64 {
	return map[string]int64{"time": unix, "USD": usd, "EUR": -1, "GBP": -1, "CAD": -1, "CHF": -1, "AUD": -1, "JPY": -1}
}

func ascending(bs []block) []block {
	out := make([]block, len(bs))
	for i, b := range bs {
		out[len(bs)-1-i] = b
	}
	return out
}
