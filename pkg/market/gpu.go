package market

import (
	"math"
	"strconv"
	"time"
)

// Class is how firmly a GPU is rented.
type Class string

// The classes of GPU rental.
const (
	OnDemand      Class = "on-demand"
	Interruptible Class = "interruptible"
	Reserved      Class = "reserved"
)

// Valid reports whether c is a known class.
func (c Class) Valid() bool { return c == OnDemand || c == Interruptible || c == Reserved }

// OfferAction is what happened to an offer between two polls.
type OfferAction uint8

// An offer is opened, changed any number of times, and closed.
const (
	OfferOpened OfferAction = iota + 1
	OfferChanged
	OfferClosed
)

func (a OfferAction) String() string {
	switch a {
	case OfferOpened:
		return "opened"
	case OfferChanged:
		return "changed"
	case OfferClosed:
		return "closed"
	}
	return "unknown"
}

// Offer is one offer of GPUs on a marketplace as it was seen at a poll.
type Offer struct {
	Meta
	Action    OfferAction
	Provider  string
	OfferID   string
	HostID    string
	MachineID string
	// GPU is the normalised model with its form factor, such as "h100-sxm"; GPUName the provider's own name.
	GPU          string
	GPUName      string
	GPUCount     uint32
	GPUMemoryMiB uint32 // of one GPU, as the card reports it
	Class        Class
	// USDPerGPUHour is derived; RawPrice in RawUnit is what the provider quoted.
	USDPerGPUHour Decimal
	RawPrice      Decimal
	RawUnit       string // such as "USD/instance-hour", "cent/instance-hour"
	Region        string
	Verified      bool
	Rentable      bool
	// Reliability as the provider scores it, 0 to 1; NaN: not given.
	Reliability float64
	// Via is the marketplace that resells the Provider's GPUs; empty: the provider itself.
	Via string
	// Stock is the upstream's word for how many are left (High, Low, none); empty: not told. Whether it can be rented now is Rentable.
	Stock string
}

// Stream implements Event.
func (*Offer) Stream() Stream { return Offers }

// Tokens implements Event: md.v1.gpu.offer.<provider>.<gpu>.
func (o *Offer) Tokens() (string, []string) { return "gpu", []string{"offer", o.Provider, o.GPU} }

// Identity implements Event.
func (o *Offer) Identity() string {
	return o.Source + "|" + o.OfferID + "|" + string(o.Class) + "|" + o.Action.String() + "|" + strconv.FormatInt(o.EventTime.UnixNano(), 10)
}

// Validate implements Event.
func (o *Offer) Validate() error {
	err := first(o.validate(), checkText("provider", o.Provider), checkText("offer id", o.OfferID), checkText("gpu", o.GPU),
		checkPrice("price per GPU-hour", o.USDPerGPUHour), checkPrice("raw price", o.RawPrice))
	switch {
	case err != nil:
		return err
	case o.Action < OfferOpened || o.Action > OfferClosed:
		return invalid(ReasonValue, "offer action %d is unknown", o.Action)
	case !o.Class.Valid():
		return invalid(ReasonValue, "class %.32q is unknown", string(o.Class))
	case o.GPUCount == 0:
		return invalid(ReasonValue, "GPU count is 0")
	case math.IsInf(o.Reliability, 0):
		return invalid(ReasonValue, "reliability is infinite")
	}
	return nil
}

// Rate is an index of GPU rental rates for one model and class.
type Rate struct {
	Meta
	GPU   string
	Class Class
	// Method and Version name the calculation; a value can be recomputed from the offers by them.
	Method        string
	Version       uint32
	USDPerGPUHour Decimal
	// P10 and P90 of the sample, GPU-weighted; 0: not given.
	P10USDPerGPUHour Decimal
	P90USDPerGPUHour Decimal
	// Dispersion is the interquartile range over the median; NaN where the sample is too small or the source gives none.
	Dispersion   float64
	SampleOffers uint32
	SampleGPUs   uint32
	SampleHosts  uint32
	// SampleProviders is how many providers are in the sample; 0: not told.
	SampleProviders uint32
	// Constituents are the providers' prices that the value was made of, by provider; empty: the source tells none.
	Constituents []Constituent
}

// Constituent is one provider's part in a rate.
type Constituent struct {
	Provider      string
	USDPerGPUHour Decimal
	GPUs          uint32
	Offers        uint32
}

// Stream implements Event.
func (*Rate) Stream() Stream { return Rates }

// Tokens implements Event: md.v1.gpu.rate.<gpu>.<class>.
func (r *Rate) Tokens() (string, []string) { return "gpu", []string{"rate", r.GPU, string(r.Class)} }

// Identity implements Event.
func (r *Rate) Identity() string {
	return r.Source + "|" + r.GPU + "|" + string(r.Class) + "|" + r.Method + "|" + strconv.FormatUint(uint64(r.Version), 10) + "|" +
		strconv.FormatInt(r.EventTime.UnixNano(), 10) + "|" + strconv.FormatUint(uint64(r.Rev), 10)
}

// Validate implements Event.
func (r *Rate) Validate() error {
	err := first(r.validate(), checkText("gpu", r.GPU), checkText("method", r.Method), checkPrice("rate", r.USDPerGPUHour),
		checkPriceOrNone("p10", r.P10USDPerGPUHour), checkPriceOrNone("p90", r.P90USDPerGPUHour))
	if err == nil && !r.Class.Valid() {
		err = invalid(ReasonValue, "class %.32q is unknown", string(r.Class))
	}
	for _, c := range r.Constituents {
		if err == nil {
			err = first(checkText("constituent's provider", c.Provider), checkPrice("constituent's price", c.USDPerGPUHour))
		}
	}
	if err == nil && math.IsInf(r.Dispersion, 0) {
		err = invalid(ReasonValue, "dispersion is infinite")
	}
	return err
}

// Signal is a derived value with the inputs that it was computed from.
type Signal struct {
	Meta
	Name   string
	Symbol string // "-" where the signal is of no symbol
	Value  Decimal
	Unit   string
	// Inputs by name, as decimal text.
	Inputs map[string]string
}

// Stream implements Event.
func (*Signal) Stream() Stream { return Signals }

// Tokens implements Event: md.v1.signal.<name>.<symbol>.
func (s *Signal) Tokens() (string, []string) { return "signal", []string{s.Name, s.Symbol} }

// Identity implements Event.
func (s *Signal) Identity() string {
	return s.Source + "|" + s.Name + "|" + s.Symbol + "|" + s.EventTime.UTC().Format(time.RFC3339Nano) + "|" + strconv.FormatUint(uint64(s.Rev), 10)
}

// Validate implements Event.
func (s *Signal) Validate() error {
	return first(s.validate(), checkText("name", s.Name), checkText("symbol", s.Symbol), checkText("unit", s.Unit))
}
