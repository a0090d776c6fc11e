package alpaca

import "github.com/hashpivot/hashpivot/pkg/market"

// Frames decodes stream frames and nothing else: no validation, no identity, no publishing. It is what the whole way of a frame is measured
// against. It is not safe for concurrent use.
type Frames struct{ dec *decoder }

// NewFrames makes a decoder of frames of any symbol.
func NewFrames() *Frames { return &Frames{newDecoder(nil)} }

// Decode hands out the events of a frame; what is refused or control is passed over.
func (f *Frames) Decode(data []byte, binary bool, fn func(market.Event)) error {
	return f.dec.frame(data, binary, func(m message) error {
		if m.event != nil {
			fn(m.event)
		}
		return nil
	})
}
