package bus_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// However many publish a message again at once, while others publish on the same subject, it is stored once, and each is told where.
func TestPublishAgainStoresOnce(t *testing.T) {
	srv, b := bustest.Start(t)
	const subject = "md.v1.trade.test.IREN"
	for range 3 {
		bustest.Foreign(t, srv, subject, []byte("original"))
	}
	again := bus.Again{Stream: market.Trades, Subject: subject, ID: "again.1", Data: []byte("once"), Events: 1, After: 1}
	var wg sync.WaitGroup
	seqs := make([]uint64, 6)
	for i := range seqs {
		wg.Go(func() {
			for range 5 {
				seq, _, err := b.PublishAgain(t.Context(), again)
				if err != nil {
					t.Error(err)
				}
				seqs[i] = seq
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			bustest.Foreign(t, srv, subject, []byte("another"))
		}
	})
	wg.Wait()
	stored, where := 0, uint64(0)
	if err := b.ScanAll(t.Context(), market.Trades, func(m bus.Msg) error {
		if m.ID == again.ID {
			stored, where = stored+1, m.Seq
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprint([]uint64{where, where, where, where, where, where}); stored != 1 || fmt.Sprint(seqs) != want {
		t.Errorf("stored %d times, callers were told %v, want %s", stored, seqs, want)
	}
	// What was read up to has aged out, so that JetStream knows another last message of the subject, or none.
	bustest.Purge(t, srv, market.Trades, 0)
	again.ID, again.After = "again.2", where
	if seq, there, err := b.PublishAgain(t.Context(), again); err != nil || there || seq == 0 {
		t.Errorf("after a purge: %d, %v, %v", seq, there, err)
	}
	again.Subject = "md.v1.quote.test.IREN"
	if _, _, err := b.PublishAgain(t.Context(), again); err == nil {
		t.Error("a subject of another stream was taken")
	}
}
