package bus_test

import (
	"slices"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/bus/bustest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// Stream times of our messages are whole microseconds, whoever reads them and however; those of messages of before keep the nanoseconds with which they have landed.
// What was stored before a moment goes by that time, not by JetStream's: what history says is before it, and what a reader begins with, must be the same.
func TestStreamTimesCountMicroseconds(t *testing.T) {
	srv, b := start(t)
	p := b.NewPublisher(bus.PublisherConfig{})
	for i := range 20 {
		if err := p.Publish(t.Context(), trade("IREN", i)); err != nil {
			t.Fatal(err)
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		data, err := wire.Encode(nil, []market.Event{trade("CORZ", i)})
		if err != nil {
			t.Fatal(err)
		}
		bustest.Foreign(t, srv, "md.v1.trade.test.CORZ", data)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var all []bus.Msg
	if err := b.ScanAll(t.Context(), market.Trades, func(m bus.Msg) error { all = append(all, m); return nil }); err != nil {
		t.Fatal(err)
	}
	fine := 0
	for i, m := range all {
		want, ours := m.Time, m.Subject == "md.v1.trade.test.IREN"
		if ours {
			want = time.UnixMicro(m.Time.UnixMicro()).UTC()
			fine += m.Time.Nanosecond() % 1000
		}
		if at := m.StreamTime(); m.Micros != ours || !at.Equal(want) || at.After(m.Time) {
			t.Errorf("message %d of %s has the stream time %s, JetStream says %s", m.Seq, m.Subject, at, m.Time)
		}
		got, err := b.Get(t.Context(), market.Trades, m.Seq)
		if err != nil || !got.StreamTime().Equal(m.StreamTime()) || !got.Time.Equal(m.Time) {
			t.Errorf("message %d read alone: %s, %v; want %s", m.Seq, got.StreamTime(), err, m.StreamTime())
		}
		for _, moment := range []time.Time{m.StreamTime(), m.StreamTime().Add(1), m.Time, m.Time.Add(1), m.Time.Add(time.Microsecond)} {
			first := slices.IndexFunc(all, func(m bus.Msg) bool { return !m.StreamTime().Before(moment) })
			want := uint64(first)
			if first < 0 {
				want = uint64(len(all))
			}
			seq, whole, err := b.SeqBefore(t.Context(), market.Trades, moment)
			if err != nil || seq != want || whole != (first == 0) {
				t.Errorf("before %s, that of message %d: %d, %v, %v; want %d", moment, i+1, seq, whole, err, want)
			}
		}
	}
	if fine == 0 || len(all) != 40 {
		t.Errorf("%d messages, and nothing was cut off the time of any", len(all))
	}
}
