package store_test

import (
	"errors"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// unknown is an event that no table is made for.
type unknown struct{ market.Trade }

// A row that can never be stored is refused alone, with its reason, and leaves nothing behind.
func TestRefusedRows(t *testing.T) {
	t.Parallel()
	when := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	good := func() *market.Trade { return trade(1, 0, "IREN", when).ev.(*market.Trade) }
	at := trade(1, 0, "IREN", when).at
	edit := func(f func(*market.Trade)) market.Event {
		e := good()
		f(e)
		return e
	}
	wrong := at
	wrong.Stream = market.Quotes
	untimed := at
	untimed.StreamTime = time.Time{}
	tests := []struct {
		name   string
		ev     market.Event
		at     market.Place
		reason market.Reason
		column string
	}{
		{"price with nine digits behind the point", edit(func(e *market.Trade) { e.PriceUSD = market.MustDecimal("0.000000001") }), at, market.ReasonPrecision, "price_usd"},
		{"price with eleven digits before it", edit(func(e *market.Trade) { e.PriceUSD = market.MustDecimal("10000000000") }), at, market.ReasonPrecision, "price_usd"},
		{"size of nineteen digits", edit(func(e *market.Trade) { e.SizeShares = market.MustDecimal("9999999999999999999") }), at, market.ReasonPrecision, "size_shares"},
		{"event before all data", edit(func(e *market.Trade) { e.EventTime = time.Date(1989, 12, 31, 0, 0, 0, 0, time.UTC) }), at, market.ReasonTime, "event_time"},
		{"event beyond the type", edit(func(e *market.Trade) { e.EventTime = time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC) }), at, market.ReasonTime, "event_time"},
		{"no receive time", edit(func(e *market.Trade) { e.RecvTime = time.Time{} }), at, market.ReasonTime, "recv_time"},
		{"no stream time", good(), untimed, market.ReasonTime, "stream_time"},
		{"action unknown", edit(func(e *market.Trade) { e.Action = 4 }), at, market.ReasonValue, "action"},
		{"no action", edit(func(e *market.Trade) { e.Action = 0 }), at, market.ReasonValue, "action"},
		{"of another stream", good(), wrong, store.ReasonStream, "-"},
		{"of no table", &unknown{*good()}, at, store.ReasonUnknown, "-"},
	}
	st := storetest.Start(t)
	b := st.NewBatch()
	for i, tt := range tests {
		add(t, b, trade(2, i, "CORZ", when))
		err := b.Add(tt.ev, tt.at)
		var re *store.RowError
		if !errors.As(err, &re) || re.Reason != tt.reason || re.Column != tt.column {
			t.Errorf("%s: %v, want reason %s, column %s", tt.name, err, tt.reason, tt.column)
		}
		if !store.IsRefused(err) || store.IsTransient(err) {
			t.Errorf("%s: %v is not taken for refused", tt.name, err)
		}
	}
	if b.Rows() != len(tests) {
		t.Errorf("%d rows, want the %d good ones", b.Rows(), len(tests))
	}
	insert(t, st, b, "x")
	wantCounts(t, st, len(tests), 0)
}

// Scaled integers are what arithmetic without bounds says they are, or refused.
func TestScaledDecimalsAreExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := gen{rt}.wide("d")
		exact, ok := new(big.Rat).SetString(d.String())
		if !ok {
			rt.Fatalf("read %s", d)
		}
		wide := new(big.Rat).Mul(exact, new(big.Rat).SetInt(exp10(19)))
		hi, lo := store.ScaleWide(d)
		got := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(int64(hi)), 64), new(big.Int).SetUint64(lo))
		if !wide.IsInt() || wide.Num().Cmp(got) != 0 {
			rt.Fatalf("%s * 10^19 = %s, want %s", d, got, wide)
		}
		price := new(big.Rat).Mul(exact, new(big.Rat).SetInt(exp10(8)))
		fits := price.IsInt() && new(big.Int).Abs(price.Num()).Cmp(exp10(18)) < 0
		v, ok := store.ScalePrice(d)
		if ok != fits {
			rt.Fatalf("%s fits Decimal(18, 8): %t, want %t", d, ok, fits)
		}
		if ok && price.Num().Cmp(big.NewInt(v)) != 0 {
			rt.Fatalf("%s * 10^8 = %d, want %s", d, v, price)
		}
		if ok != market.Fits(d, 18, 8) {
			rt.Fatalf("%s: the store and the domain disagree on what fits", d)
		}
	})
}

func exp10(n int64) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil) }
