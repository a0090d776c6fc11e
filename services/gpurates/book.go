package gpurates

import (
	"slices"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// book is the open offers of one list as they were last told.
type book struct {
	open map[string]*market.Offer
}

func newBook() *book { return &book{open: map[string]*market.Offer{}} }

// offerKey names an offer within its source: a provider lists the same machine in several classes.
func offerKey(o *market.Offer) string { return string(o.Class) + " " + o.OfferID }

// apply takes an event that was published.
func (b *book) apply(o *market.Offer) {
	if o.Action == market.OfferClosed {
		delete(b.open, offerKey(o))
		return
	}
	b.open[offerKey(o)] = o
}

// diff compares a poll with the book and returns what happened, closed first, by class and id: the events are new, the book is unchanged. keep
// are ids that were in the answer but could not be read: they are neither changed nor closed. Without complete nothing is closed.
func (b *book) diff(offers []*market.Offer, keep map[string]bool, complete bool, at market.Meta) []*market.Offer {
	var closed, changed, opened []*market.Offer
	present := make(map[string]bool, len(offers))
	for _, o := range offers {
		present[offerKey(o)] = true
		old, ok := b.open[offerKey(o)]
		switch {
		case !ok:
			o.Action = market.OfferOpened
			opened = append(opened, o)
		case !sameOffer(old, o):
			o.Action = market.OfferChanged
			changed = append(changed, o)
		}
	}
	if complete {
		for key, old := range b.open {
			if present[key] || keep[old.OfferID] {
				continue
			}
			c := *old
			c.Meta = market.Meta{EventTime: at.EventTime, RecvTime: at.RecvTime}
			c.Action, c.Rentable = market.OfferClosed, false
			closed = append(closed, &c)
		}
	}
	byKey := func(a, b *market.Offer) int { return strings.Compare(offerKey(a), offerKey(b)) }
	slices.SortFunc(closed, byKey)
	slices.SortFunc(changed, byKey)
	slices.SortFunc(opened, byKey)
	return slices.Concat(closed, changed, opened)
}

// sameOffer leaves the reliability out: it creeps with every poll and would make each a change.
func sameOffer(a, b *market.Offer) bool {
	return a.USDPerGPUHour.Cmp(b.USDPerGPUHour) == 0 && a.RawPrice.Cmp(b.RawPrice) == 0 && a.RawUnit == b.RawUnit && a.GPU == b.GPU &&
		a.GPUName == b.GPUName && a.GPUCount == b.GPUCount && a.GPUMemoryMiB == b.GPUMemoryMiB && a.HostID == b.HostID && a.MachineID == b.MachineID &&
		a.Region == b.Region && a.Verified == b.Verified && a.Rentable == b.Rentable && a.Stock == b.Stock && a.Provider == b.Provider && a.Via == b.Via
}
