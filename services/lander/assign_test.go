package lander

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// TestDecoderVersion: the version of the decoder must be raised with the layout. If this fails: was the mapping of events to tables, partitions or columns changed?
// Then raise decoder and write the new sum here.
func TestDecoderVersion(t *testing.T) {
	const ofVersion, want = 2, "bbfb89bb58a387b5"
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(store.Layout())))[:16]; got != want || decoder != ofVersion {
		t.Errorf("layout %s of decoder %d, want %s of %d", got, decoder, want, ofVersion)
	}
}

func TestAssignIsFairAndCalm(t *testing.T) {
	var units []unit
	for _, st := range market.Streams() {
		units = append(units, unitsOf(st, nil)...)
	}
	units = append(units, unitsOf(market.Trades, []bus.Cut{{Of: 8}})[1:]...)
	var members []member
	before := map[unit]string{}
	for n := range 7 {
		members = append(members, member{fmt.Sprintf("m%d", n*7919), market.Streams()})
		now := assign(units, members)
		if len(now) != len(units) {
			t.Fatalf("%d of %d units have a lander", len(now), len(units))
		}
		load, moved := map[string]int{}, 0
		for u, id := range now {
			load[id]++
			if before[u] != "" && before[u] != id {
				moved++
			}
		}
		for id, k := range load {
			if most := (len(units) + n) / (n + 1); k > most {
				t.Errorf("%d members: %s has %d units, more than %d", n+1, id, k, most)
			}
		}
		if n > 0 && moved > 2*len(units)/(n+1)+1 {
			t.Errorf("%d members: %d of %d units moved", n+1, moved, len(units))
		}
		before = now
	}
	// One that lands few streams leaves the rest to the others.
	members = []member{{"few", []market.Stream{market.Bars}}, {"all", market.Streams()}}
	for u, id := range assign(units, members) {
		if u.stream != market.Bars && id != "all" {
			t.Errorf("%v went to %s", u, id)
		}
	}
	if got := assign(units, nil); len(got) != 0 {
		t.Errorf("assigned to nobody: %v", got)
	}
}
