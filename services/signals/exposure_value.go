package signals

import (
	"maps"
	"strconv"
	"time"
)

// Inputs of the signals of exposures, besides inputMethod.
const (
	inputWindow       = "window"
	inputPairs        = "n"
	inputFrom         = "from" // close that the first return of the window begins with
	inputClose        = "close."
	inputPrevClose    = "prev_close."
	inputPriceFactor  = "prev_close.factor" // what it is multiplied by for corporate actions
	inputAdjusted     = "close.adjusted"    // by the source: split or total
	inputFinal        = "close.final"
	inputNoReturn     = "close.no_return" // why the close makes no return
	inputLevel        = "level."
	inputPrevLevel    = "prev_level."
	inputLevelMethod  = "level.method"
	inputLevelMissing = "level.missing"
	inputProvisional  = "provisional"
	inputLow          = "low"
	inputHigh         = "high"
	inputLag          = "correlation." // and the lag
)

// values that end with span i.
func (x exposureWindow) values(i int) []exposureValue {
	pairs, ok := x.pairs(i, 0)
	if !ok {
		return x.without(whyHistory)
	}
	r := regress(pairs)
	inputs, backfill := x.inputs(i)
	inputs[inputPairs] = strconv.Itoa(r.n)
	out := []exposureValue{
		{kind: exposureBeta, value: r.beta, decimals: 8, why: r.why, backfill: backfill, inputs: inputs},
		{kind: exposureCorrelation, value: r.r, decimals: 8, why: r.why, backfill: backfill, inputs: inputs},
		{kind: exposureShare, value: r.share, decimals: 8, why: r.why, backfill: backfill, inputs: inputs},
	}
	if r.r != nil {
		out[1].inputs, out[2].inputs = maps.Clone(inputs), maps.Clone(inputs)
		out[1].inputs[inputLow], out[1].inputs[inputHigh] = scaled(r.low, 6), scaled(r.high, 6)
		out[2].inputs[inputLow], out[2].inputs[inputHigh] = scaled(r.shareLow, 6), scaled(r.shareH, 6)
	}
	return append(out, x.lead(i, inputs, backfill))
}

func (x exposureWindow) without(why string) (out []exposureValue) {
	for _, kind := range exposureKinds {
		out = append(out, exposureValue{kind: kind, why: why})
	}
	return out
}

// lead is the lag whose correlation is strongest; of equals the shorter, then the one at which the factor leads.
func (x exposureWindow) lead(i int, inputs map[string]string, backfill bool) exposureValue {
	out := exposureValue{kind: exposureLead, backfill: backfill, inputs: maps.Clone(inputs), why: whyPairs}
	var best regression
	for k := range 2*exposureLags + 1 {
		lag := (k + 1) / 2 // 0, 1, -1, 2, -2 ...
		if k%2 == 0 {
			lag = -lag
		}
		pairs, ok := x.pairs(i, lag)
		if !ok {
			out.why = whyHistory
			return out
		}
		r := regress(pairs)
		if r.r == nil {
			continue
		}
		out.inputs[inputLag+strconv.Itoa(lag)] = scaled(r.r, 8)
		if best.r == nil || r.r.CmpAbs(best.r) > 0 {
			best = r
			out.value, out.inputs[inputPairs] = bigOf(lag), strconv.Itoa(r.n)
			out.inputs[inputLow], out.inputs[inputHigh] = scaled(r.low, 6), scaled(r.high, 6)
		}
	}
	return out
}

// inputs of the value that ends with span i: what the window is, and its last close and level, each with the one before.
func (x exposureWindow) inputs(i int) (_ map[string]string, backfill bool) {
	s := x.spans[i]
	in := map[string]string{inputMethod: exposureMethod, inputWindow: strconv.Itoa(x.width), inputFrom: x.spans[max(0, i-x.width+1)].prev.String()}
	note := func(name string, v exposureInput) {
		in[name+"usd"], in[name+"at"] = v.usd.Trim(0).String(), v.at.Format(time.RFC3339Nano)
		in[name+"source"], in[name+"rev"] = v.source, strconv.FormatUint(uint64(v.rev), 10)
	}
	note(inputClose, s.close)
	note(inputPrevClose, s.before)
	in[inputFinal] = strconv.FormatBool(s.close.final)
	if how := x.board.adjusted(s.close.source); how != "" {
		in[inputAdjusted] = how
	}
	if s.factor != "" {
		in[inputPriceFactor] = s.factor
	}
	_, before, level, why := x.board.of(x.factor, s)
	if level.method != "" {
		note(inputLevel, level)
		note(inputPrevLevel, before)
		in[inputLevelMethod] = level.method
	}
	if s.why != "" {
		in[inputNoReturn] = s.why
	}
	if why != "" {
		in[inputLevelMissing] = why
	}
	if !s.close.final || level.method == levelLive {
		in[inputProvisional] = "true"
	}
	return in, s.close.backfill || level.backfill
}
