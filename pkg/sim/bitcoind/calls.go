package bitcoind

import (
	"encoding/json"
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/sim/chain"
)

func (s *Server) call(q request) (any, *rpcError) {
	switch q.Method {
	case "getblockchaininfo":
		return s.info(), nil
	case "getbestblockhash":
		return s.block(s.tip()).Hash, nil
	case "getblockcount":
		return s.tip(), nil
	case "getdifficulty":
		return s.block(s.tip()).Difficulty, nil
	case "getnetworkhashps":
		return s.block(s.tip()).Difficulty * (1 << 32) / 600, nil
	case "getblockhash":
		var height int64
		if e := param(q, 0, &height); e != nil {
			return nil, e
		}
		if height < 0 || height > s.tip() {
			return nil, &rpcError{-8, "Block height out of range"}
		}
		return s.block(height).Hash, nil
	case "getblockheader":
		b, e := s.byHash(q)
		if e != nil {
			return nil, e
		}
		return s.header(b), nil
	case "getblockstats":
		return s.stats(q)
	}
	return nil, &rpcError{-32601, "Method not found"}
}

func param(q request, i int, to any) *rpcError {
	if i >= len(q.Params) {
		return &rpcError{-1, q.Method + " \"…\"\n\nA parameter is missing."}
	}
	if err := json.Unmarshal(q.Params[i], to); err != nil {
		return &rpcError{-3, fmt.Sprintf("JSON value of type %.20s is not of expected type", q.Params[i])}
	}
	return nil
}

func (s *Server) byHash(q request) (chain.Block, *rpcError) {
	var hash string
	if e := param(q, 0, &hash); e != nil {
		return chain.Block{}, e
	}
	if len(hash) != 64 {
		return chain.Block{}, &rpcError{-8, fmt.Sprintf("blockhash must be of length 64 (not %d, for '%s')", len(hash), hash)}
	}
	s.mu.Lock()
	b, ok := s.known[hash]
	s.mu.Unlock()
	if !ok {
		return chain.Block{}, &rpcError{-5, "Block not found"}
	}
	return b, nil
}

func (s *Server) info() any {
	tip := s.block(s.tip())
	s.mu.Lock()
	ibd, lag := s.ibd, s.lag
	s.mu.Unlock()
	return map[string]any{
		"chain": "main", "blocks": tip.Height, "headers": tip.Height + lag, "bestblockhash": tip.Hash, "difficulty": tip.Difficulty,
		"time": tip.Time.Unix(), "mediantime": tip.Time.Add(-6 * s.cfg.Chain.Every()).Unix(), "verificationprogress": 0.9999981,
		"initialblockdownload": ibd, "chainwork": fmt.Sprintf("%064x", tip.Height), "size_on_disk": 700_000_000_000, "pruned": false, "warnings": []string{},
	}
}

func (s *Server) header(b chain.Block) any {
	tip := s.tip()
	h := map[string]any{
		"hash": b.Hash, "confirmations": tip - b.Height + 1, "height": b.Height, "version": 0x20000000, "versionHex": "20000000",
		"merkleroot": fmt.Sprintf("%064x", b.Height), "time": b.Time.Unix(), "mediantime": b.Time.Add(-6 * s.cfg.Chain.Every()).Unix(),
		"nonce": b.Height * 7919 % (1 << 32), "bits": "17020000", "difficulty": b.Difficulty, "chainwork": fmt.Sprintf("%064x", b.Height),
		"nTx": b.Txs, "previousblockhash": b.Previous,
	}
	if b.Height > tip || s.block(b.Height).Hash != b.Hash {
		h["confirmations"] = -1 // of a branch that lost
	} else if b.Height < tip {
		h["nextblockhash"] = s.block(b.Height + 1).Hash
	}
	return h
}

// stats takes a height or a hash, and the names of the figures; without names it tells all.
func (s *Server) stats(q request) (any, *rpcError) {
	var height int64
	var b chain.Block
	e := param(q, 0, &height)
	if e == nil {
		if tip := s.tip(); height < 0 || height > tip {
			return nil, &rpcError{-8, fmt.Sprintf("Target block height %d after current tip %d", height, tip)}
		}
		b = s.block(height)
	} else if b, e = s.byHash(q); e != nil {
		return nil, e
	}
	all := map[string]any{
		"avgfee": b.FeesSat / b.Txs, "avgfeerate": b.FeesSat * 4 / b.Weight, "avgtxsize": b.Size / b.Txs, "blockhash": b.Hash,
		"feerate_percentiles": []int{1, 1, 2, 3, 8}, "height": b.Height, "ins": 2 * b.Txs, "maxfee": b.FeesSat / 20, "maxfeerate": 300, "maxtxsize": 90_000,
		"medianfee": b.FeesSat / b.Txs / 2, "mediantime": b.Time.Add(-6 * s.cfg.Chain.Every()).Unix(), "mediantxsize": 250, "minfee": 0, "minfeerate": 0,
		"mintxsize": 150, "outs": 3 * b.Txs, "subsidy": b.SubsidySat, "swtotal_size": b.Size * 9 / 10, "swtotal_weight": b.Weight * 9 / 10,
		"swtxs": b.Txs * 9 / 10, "time": b.Time.Unix(), "total_out": 400_000_000_000, "total_size": b.Size, "total_weight": b.Weight, "totalfee": b.FeesSat,
		"txs": b.Txs, "utxo_increase": 100, "utxo_size_inc": 9000,
	}
	if len(q.Params) < 2 {
		return all, nil
	}
	var names []string
	if e := param(q, 1, &names); e != nil {
		return nil, e
	}
	out := map[string]any{}
	for _, n := range names {
		v, ok := all[n]
		if !ok {
			return nil, &rpcError{-8, fmt.Sprintf("Invalid selected statistic '%s'", n)}
		}
		out[n] = v
	}
	return out, nil
}
