package signals

import (
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// Inputs of the signals of the pivot.
const (
	inputMethod          = "method"
	inputHashpriceUSD    = "hashprice.usd_per_phs_day"
	inputHashpriceAt     = "hashprice.at"
	inputHashpriceMethod = "hashprice.method"
	inputHashpriceRev    = "hashprice.rev"
	inputFleet           = "fleet"
	inputEfficiency      = "fleet.j_per_th"
	inputMiningPUE       = "mining.pue"
	inputRateUSD         = "rate.usd_per_gpu_hour"
	inputRateAt          = "rate.at"
	inputRateMethod      = "rate.method"
	inputRateRev         = "rate.rev"
	inputUtilisation     = "gpu.utilisation"
	inputSystem          = "gpu.system"
	inputSystemKW        = "gpu.system_kw"
	inputSystemGPUs      = "gpu.system_gpus"
	inputGPUPUE          = "gpu.pue"
	inputUnconfirmed     = "unconfirmed"
	inputReference       = "reference.version"
)

// value of a series at a time, or the reason why there is none.
func (e *pivotEngine) value(s pivotSeries, at time.Time) (_ market.Decimal, inputs map[string]string, backfill bool, reason string) {
	h, r := e.inputs[s.mark].at(s, at)
	needsHashprice, needsRate := s.name != signalGPU && s.name != signalBreakEven, s.name != signalMining
	none := func(reason string) (market.Decimal, map[string]string, bool, string) {
		return market.Decimal{}, nil, false, reason
	}
	switch {
	case needsHashprice && h == nil:
		return none("no_hashprice")
	case needsRate && r == nil:
		return none("no_rate")
	case !s.daily && needsHashprice && at.Sub(h.at) > pivotMaxAge:
		return none("stale_hashprice")
	case !s.daily && needsRate && at.Sub(r.at) > pivotMaxAge:
		return none("stale_rate")
	}
	in := pivotFacts{inputs: map[string]string{inputMethod: pivotMethod, inputReference: e.power.Version}, power: e.power, day: at}
	var mining, gpu *big.Rat
	var efficiency, pue *big.Rat
	if s.name != signalGPU {
		efficiency, pue = in.level(inputEfficiency, reference.FleetEfficiency, e.cfg.Fleet), in.level(inputMiningPUE, reference.PUE, reference.MiningPUE)
		in.inputs[inputFleet] = e.cfg.Fleet
	}
	if needsRate {
		gpu = in.gpu(r, s.symbol)
		backfill = backfill || r.backfill
	}
	if in.missing != "" {
		return none(in.missing)
	}
	if needsHashprice {
		in.hashprice(h)
		mining = miningUSDPerMWh(ratOf(h.usd), efficiency, pue)
		backfill = backfill || h.backfill
	}
	var v *big.Rat
	switch s.name {
	case signalMining:
		v = mining
	case signalGPU:
		v = gpu
	case signalPremium:
		v = quo(gpu, mining)
	case signalSpread:
		v = new(big.Rat).Sub(gpu, mining)
	case signalBreakEven:
		v = breakEvenUSD(gpu, efficiency, pue)
	}
	if len(in.unconfirmed) > 0 {
		in.inputs[inputUnconfirmed] = strings.Join(in.unconfirmed, " ")
	}
	d, err := roundPivot(v)
	if err != nil {
		return none("precision")
	}
	return d, in.inputs, backfill, ""
}

// pivotFacts notes what a value is made of.
type pivotFacts struct {
	inputs      map[string]string
	power       *reference.Power
	day         time.Time
	unconfirmed []string
	missing     string
}

func (f *pivotFacts) level(input, kind, name string) *big.Rat {
	l, ok := f.power.Level(kind, name, f.day)
	if !ok {
		f.missing = "no_" + kind
		return nil
	}
	f.note(input, l.Value, l.Confirmed)
	return ratOfText(l.Value)
}

func (f *pivotFacts) note(input, value string, confirmed bool) {
	f.inputs[input] = value
	if !confirmed {
		f.unconfirmed = append(f.unconfirmed, input)
	}
}

func (f *pivotFacts) hashprice(h *pivotInput) {
	f.inputs[inputHashpriceUSD], f.inputs[inputHashpriceAt] = h.usd.String(), h.at.Format(time.RFC3339Nano)
	f.inputs[inputHashpriceMethod], f.inputs[inputHashpriceRev] = h.method, strconv.FormatUint(uint64(h.rev), 10)
}

// gpu is what a megawatt-hour earns in a model at a rate.
func (f *pivotFacts) gpu(r *pivotInput, model string) *big.Rat {
	u, pue := f.level(inputUtilisation, reference.Utilisation, reference.GPUUtilisation), f.level(inputGPUPUE, reference.PUE, reference.GPUPUE)
	sys, ok := f.power.System(model)
	if !ok {
		f.missing = "no_system"
	}
	if f.missing != "" {
		return nil
	}
	f.note(inputSystemKW, sys.KW, sys.Confirmed)
	f.inputs[inputSystem], f.inputs[inputSystemGPUs] = sys.Name, strconv.FormatUint(uint64(sys.GPUs), 10)
	f.inputs[inputRateUSD], f.inputs[inputRateAt] = r.usd.String(), r.at.Format(time.RFC3339Nano)
	f.inputs[inputRateMethod], f.inputs[inputRateRev] = r.method, strconv.FormatUint(uint64(r.rev), 10)
	return gpuUSDPerMWh(ratOf(r.usd), u, big.NewRat(int64(sys.GPUs), 1), ratOfText(sys.KW), pue)
}
