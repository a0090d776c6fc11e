package store_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// A lander is bounded by what a batch says it takes, so that must be what it does take, whatever comes: many symbols, long texts, a partition for each row.
func TestBytesAreWhatIsHeld(t *testing.T) {
	day := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	traded := func(edit func(i int, e *market.Trade)) func(i int) placed {
		return func(i int) placed {
			r := trade(1, i, "IREN", day.Add(time.Duration(i)*time.Millisecond))
			edit(i, r.ev.(*market.Trade))
			return placed{r.ev, r.at}
		}
	}
	shapes := []struct {
		name string
		n    int
		make func(i int) placed
	}{
		{"prints of one symbol", 50_000, traded(func(int, *market.Trade) {})},
		{"a symbol a row", 50_000, traded(func(i int, e *market.Trade) { e.Symbol = fmt.Sprint("S", i) })},
		{"long symbols", 5_000, traded(func(i int, e *market.Trade) { e.Symbol = fmt.Sprint(strings.Repeat("S", 1000), i) })},
		{"long ids", 5_000, traded(func(i int, e *market.Trade) { e.ID = strings.Repeat("9", 2000) })},
		{"many conditions", 5_000, traded(func(i int, e *market.Trade) { e.Conditions = strings.Split(strings.Repeat("@,F,I,T,", 200), ",") })},
		{"a month a row", 2_000, traded(func(i int, e *market.Trade) { e.EventTime = day.AddDate(0, i, 0) })},
		{"dead letters", 2_000, func(i int) placed {
			d := market.NewDeadFrame("test", "md.v1.trade.x.Y", market.ReasonValue, "bad", make([]byte, 5000), day)
			return placed{d, market.Place{Stream: market.Dead, Seq: uint64(i + 1), StreamTime: day}}
		}},
		{"signals", 5_000, func(i int) placed {
			e := &market.Signal{Meta: market.Meta{EventTime: day, RecvTime: day, Source: "sim-x"}, Name: "n", Symbol: "IREN", Unit: "ratio", Inputs: map[string]string{}}
			for k := range 20 {
				e.Inputs[fmt.Sprint("input", k)] = fmt.Sprint("a value ", i, k)
			}
			return placed{e, market.Place{Stream: market.Signals, Seq: uint64(i + 1), StreamTime: day}}
		}},
	}
	for _, s := range shapes {
		before := heap()
		b := store.NewBatch()
		for i := range s.n {
			p := s.make(i)
			if err := b.Add(p.ev, p.at); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
		held, said := int(heap()-before), b.Bytes()
		// A slice that grew may have a quarter more than it holds, a young one as much again.
		if held > 2*said+1<<20 || said > 2*held {
			t.Errorf("%s: the batch says %d KiB and takes %d KiB", s.name, said>>10, held>>10)
		}
		t.Logf("%s: says %d KiB, takes %d KiB", s.name, said>>10, held>>10)
		runtime.KeepAlive(b)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
