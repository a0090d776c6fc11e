package nightly

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// A range that is written down and not inserted has not landed; one that is inserted has, though the record has not moved on.
func testLanding(t *testing.T, w *world) {
	d := date(2025, time.June, 2)
	s := w.service(nil)
	w.whole(s, d)
	w.publish(rateOf(d, "b200"))
	w.landOne(market.Rates, false)
	info, err := w.bus.Info(t.Context(), market.Rates)
	if err != nil {
		t.Fatal(err)
	}
	through := func() uint64 {
		seq, trouble, err := s.through(t.Context(), market.Rates, info)
		if err != nil || trouble != "" {
			t.Fatal(err, trouble)
		}
		return seq
	}
	if got := through(); got != info.LastSeq-1 {
		t.Errorf("landed through %d of %d", got, info.LastSeq)
	}
	s.landWithin = 300 * time.Millisecond
	if _, err := s.barrier(t.Context(), time.Time{}); !errors.Is(err, ErrNotLanded) || !strings.Contains(err.Error(), "RATES") {
		t.Errorf("error %v", err)
	}
	// The event turns out to be one that can never land: the letter stands for it.
	w.publish(&market.DeadLetter{
		Meta: meta("sim-hashpivot", time.Now().UTC()), Of: string(market.Rates), Created: info.Created.Unix(), Seq: info.LastSeq, Idx: 0, Subject: "md.v1.gpu.rate.b200.on-demand", Reason: "range",
	})
	w.landOne(market.Dead, true)
	if got := through(); got != info.LastSeq {
		t.Errorf("with the letter landed through %d of %d", got, info.LastSeq)
	}
	asOf, err := s.barrier(t.Context(), time.Time{})
	if err != nil || asOf.Before(info.LastTime) {
		t.Errorf("moment %v, %v", asOf, err)
	}
	w.landed[market.Rates] = info.LastSeq
}
