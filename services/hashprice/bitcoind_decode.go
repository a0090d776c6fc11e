package hashprice

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// chainInfo is getblockchaininfo.
type chainInfo struct {
	Chain    string  `json:"chain"`
	Blocks   *uint64 `json:"blocks"`
	Headers  uint64  `json:"headers"`
	Best     string  `json:"bestblockhash"`
	Download bool    `json:"initialblockdownload"`
}

func decodeChainInfo(raw []byte) (chainInfo, error) {
	var i chainInfo
	if err := feed.DecodeJSON(raw, &i); err != nil {
		return chainInfo{}, err
	}
	switch {
	case i.Blocks == nil:
		return chainInfo{}, feed.Missing("blocks")
	case !isHash(i.Best):
		return chainInfo{}, &feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf("bestblockhash %.80q is no hash", i.Best)}
	case i.Chain == "":
		return chainInfo{}, feed.Missing("chain")
	}
	return i, nil
}

func isHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func decodeHash(raw []byte) (string, error) {
	var h string
	if err := feed.DecodeJSON(raw, &h); err != nil {
		return "", err
	}
	if !isHash(h) {
		return "", &feed.Malformed{Reason: feed.ReasonType, Err: fmt.Errorf("%.80q is no hash", h)}
	}
	return h, nil
}

// blockHeader is getblockheader.
type blockHeader struct {
	Hash          string      `json:"hash"`
	Confirmations *int64      `json:"confirmations"` // -1: of a branch that lost
	Height        *uint64     `json:"height"`
	Time          int64       `json:"time"`
	Difficulty    json.Number `json:"difficulty"`
	Previous      string      `json:"previousblockhash"`
	Txs           uint32      `json:"nTx"`
}

func decodeHeader(raw []byte) (blockHeader, error) {
	var h blockHeader
	if err := feed.DecodeJSON(raw, &h); err != nil {
		return blockHeader{}, err
	}
	switch {
	case h.Height == nil:
		return blockHeader{}, feed.Missing("height")
	case h.Time == 0:
		return blockHeader{}, feed.Missing("time")
	case h.Confirmations == nil:
		return blockHeader{}, feed.Missing("confirmations")
	}
	return h, nil
}

// blockStats is what we ask of getblockstats. Its sizes leave the coinbase out, so that they are not the block's and are not taken.
type blockStats struct {
	Hash       string  `json:"blockhash"`
	Height     *uint64 `json:"height"`
	SubsidySat *int64  `json:"subsidy"`
	FeesSat    *int64  `json:"totalfee"`
}

var statsAsked = []string{"blockhash", "height", "subsidy", "totalfee"}

func decodeStats(raw []byte) (blockStats, error) {
	var s blockStats
	if err := feed.DecodeJSON(raw, &s); err != nil {
		return blockStats{}, err
	}
	if s.SubsidySat == nil || s.FeesSat == nil || s.Height == nil || s.Hash == "" {
		return blockStats{}, feed.Missing("one of blockhash, height, subsidy, totalfee")
	}
	return s, nil
}

// coreBlock is a block out of its header and its figures.
func coreBlock(h blockHeader, s blockStats, recv time.Time) (*market.Block, error) {
	if h.Hash != s.Hash || *h.Height != *s.Height {
		return nil, &feed.Malformed{Reason: market.ReasonIncoherent, Err: fmt.Errorf(
			"header of %.64s at %d, figures of %.64s at %d", h.Hash, *h.Height, s.Hash, *s.Height)}
	}
	d, err := number("difficulty", h.Difficulty)
	if err != nil {
		return nil, err
	}
	b := &market.Block{
		Meta:   market.Meta{EventTime: seconds(h.Time), RecvTime: recv},
		Height: *h.Height, Hash: h.Hash, PreviousHash: h.Previous, Difficulty: d,
		SubsidySat: *s.SubsidySat, FeesSat: *s.FeesSat, TxCount: h.Txs,
	}
	if b.SubsidySat < 0 || b.FeesSat < 0 || b.SubsidySat > 50*satPerBTC || b.FeesSat > 21e6*satPerBTC {
		return nil, &feed.Malformed{Reason: market.ReasonValue, Err: fmt.Errorf("subsidy %d, fees %d sat", b.SubsidySat, b.FeesSat)}
	}
	b.RewardSat = b.SubsidySat + b.FeesSat
	return b, plausibleHeight(b)
}
