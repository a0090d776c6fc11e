package alpaca

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/sim/tape"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testSymbols = []string{"WGMI", "CORZ", "BTBT", "IREN"}

func testWorld(t testing.TB) *world.World {
	t.Helper()
	w, err := world.New(world.Config{Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// still makes a server whose tape does not run by itself.
func still(t testing.TB, cfg Config) *Server {
	t.Helper()
	cfg.World, cfg.Symbols = testWorld(t), testSymbols
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	return s
}

// wireMessage is a message of the stream or a record of history.
type wireMessage struct {
	T, S              string
	X                 string
	ID                json.RawMessage `json:"i"`
	P                 json.Number     `json:"p"`
	Size              json.RawMessage `json:"s"`
	C                 json.RawMessage `json:"c"`
	O, H, L, V, N, VW json.Number
	At                time.Time `json:"t"`
	OI, CI            uint64
	CP                json.Number
	U                 json.RawMessage
}

// play runs the tape over buckets and returns what a client of everything gets.
func play(t testing.TB, s *Server, from, to int64) []wireMessage {
	t.Helper()
	c := &client{s: s, out: make(chan outFrame, 1<<16), authed: true, subs: subscriptions{}}
	for _, ch := range channels {
		c.subs[ch.name] = []string{"*"}
	}
	s.clients[c] = struct{}{}
	defer delete(s.clients, c)
	tp := newTeller(s)
	for b := from; b <= to; b++ {
		tp.bucket(b)
	}
	close(c.out)
	var out []wireMessage
	for f := range c.out {
		var list []wireMessage
		if err := json.Unmarshal(f.data, &list); err != nil {
			t.Fatalf("frame %.200q: %v", f.data, err)
		}
		if len(list) == 0 || len(list) > perFrame {
			t.Fatalf("a frame of %d messages", len(list))
		}
		out = append(out, list...)
	}
	return out
}

// firstBucket is the start of a minute, and of an hour.
var firstBucket = tape.BucketOf(time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC))

// History must tell what the stream told: the same prints, by id, price, size and time, with their fates.
func TestHistoryAgreesWithTheStream(t *testing.T) {
	s := still(t, Config{Rate: 400, FaultEvery: 10})
	last := firstBucket + 2*tape.PerMinute
	told := play(t, s, firstBucket, last)
	type seen struct{ price, size, fate string }
	stream := map[string]seen{}
	late := 0
	for _, m := range told {
		switch m.T {
		case "t":
			key := fmt.Sprintf("%s %s %d", m.S, m.ID, m.At.UnixNano())
			if _, twice := stream[key]; twice {
				t.Fatalf("print %s was sent twice", key)
			}
			stream[key] = seen{m.P.String(), string(m.Size), ""}
		case "u":
			late++
		}
	}
	if late == 0 {
		t.Error("two minutes with late prints, cancels and corrections, and no updated bar")
	}
	var history int
	fates := map[string]int{}
	var scratch []tape.Tick
	for _, sec := range s.gen.Securities {
		for b := firstBucket; b <= last; b++ {
			var prints []toldRecord
			prints, scratch = historyOf(t, s, sec, b, last, scratch)
			for _, p := range prints {
				fates[p.u]++
				if p.u == "corrected" {
					continue
				}
				history++
				key := fmt.Sprintf("%s %d %d", sec.Symbol, p.id, p.at)
				have, ok := stream[key]
				if !ok {
					t.Fatalf("history tells of print %s, the stream did not", key)
				}
				if have.price != p.price || have.size != p.size {
					t.Fatalf("print %s: history has %s x %s, the stream had %s x %s", key, p.price, p.size, have.price, have.size)
				}
			}
		}
	}
	// Late prints of before the first bucket were sent within the span.
	early := 0
	for key := range stream {
		var at int64
		var sym string
		var id uint64
		if _, err := fmt.Sscan(key, &sym, &id, &at); err != nil {
			t.Fatal(err)
		}
		if at < firstBucket*int64(tape.Bucket) {
			early++
		}
	}
	if history+early != len(stream) {
		t.Errorf("history tells of %d prints, the stream of %d and %d before", history, len(stream)-early, early)
	}
	if fates["canceled"] == 0 || fates["incorrect"] == 0 || fates["incorrect"] != fates["corrected"] {
		t.Errorf("fates %v", fates)
	}
}

type toldRecord struct {
	id          uint64
	at          int64
	price, size string
	u           string
}

func historyOf(t *testing.T, s *Server, sec *tape.Security, b, now int64, scratch []tape.Tick) ([]toldRecord, []tape.Tick) {
	t.Helper()
	var prints []tape.Told
	scratch, prints = s.gen.Prints(sec, b, now, scratch, nil)
	var out []toldRecord
	for i := range prints {
		var rec struct {
			I uint64
			P json.Number
			S json.Number
			T time.Time
			U string
		}
		text := appendTold(nil, &prints[i])
		if err := json.Unmarshal(text, &rec); err != nil {
			t.Fatalf("record %s: %v", text, err)
		}
		out = append(out, toldRecord{rec.I, rec.T.UnixNano(), rec.P.String(), rec.S.String(), rec.U})
	}
	return out, scratch
}

// The bars that the stream sends, after their updates, must be the bars of history, and those must be the sum of the prints.
func TestBarsAgreeWithThePrints(t *testing.T) {
	s := still(t, Config{Rate: 400, FaultEvery: 10})
	last := firstBucket + 3*tape.PerMinute
	told := play(t, s, firstBucket, last)
	type ohlcv struct{ o, h, l, c, v, n, vw string }
	stream := map[string]ohlcv{}
	first := 0
	for _, m := range told {
		if m.T == "b" {
			first++
		}
		if m.T == "b" || m.T == "u" {
			stream[m.S+" "+m.At.String()] = ohlcv{m.O.String(), m.H.String(), m.L.String(), string(m.C), m.V.String(), m.N.String(), m.VW.String()}
		}
	}
	if first != 3*len(testSymbols) {
		t.Errorf("%d minute bars, want %d", first, 3*len(testSymbols))
	}
	for _, sec := range s.gen.Securities {
		for b := firstBucket; b < firstBucket+2*tape.PerMinute; b += tape.PerMinute { // the last minute's update is not due yet
			x, ok := s.gen.MinuteBar(sec, b, last)
			if !ok {
				t.Fatalf("no bar of %s", sec.Symbol)
			}
			var rec struct{ O, H, L, C, V, N, VW json.Number }
			if err := json.Unmarshal(barRow(&x).json, &rec); err != nil {
				t.Fatal(err)
			}
			want := ohlcv{rec.O.String(), rec.H.String(), rec.L.String(), rec.C.String(), rec.V.String(), rec.N.String(), rec.VW.String()}
			if got := stream[sec.Symbol+" "+stamp(x.At).String()]; got != want {
				t.Errorf("%s %s: the stream has %+v, history %+v", sec.Symbol, stamp(x.At), got, want)
			}
		}
	}
}

func TestTheTapeIsTheSameAfterARestart(t *testing.T) {
	a := play(t, still(t, Config{Rate: 200}), firstBucket, firstBucket+200)
	b := play(t, still(t, Config{Rate: 200}), firstBucket, firstBucket+200)
	if fmt.Sprint(a) != fmt.Sprint(b) || len(a) == 0 {
		t.Errorf("two runs tell %d and %d messages, not the same", len(a), len(b))
	}
}

func TestPricesAreOnTheTick(t *testing.T) {
	for units, want := range map[int64]string{13100: "1.31", 9999: "0.9999", 7470300: "747.03", 20000: "2", 1: "0.0001", 368050: "36.805"} {
		if got := string(appendDecimal(nil, units, 4)); got != want {
			t.Errorf("%d units print as %s, want %s", units, got, want)
		}
	}
	n := 0
	for _, m := range play(t, still(t, Config{Rate: 200}), firstBucket, firstBucket+100) {
		if m.T != "t" {
			continue
		}
		n++
		p, err := m.P.Float64()
		if err != nil || p <= 0 {
			t.Fatalf("price %q", m.P)
		}
		_, cents, _ := strings.Cut(m.P.String(), ".")
		if len(cents) > 4 || m.X != "D" && p >= 1 && len(cents) > 2 {
			t.Fatalf("%s trades at %s on exchange %s, off its tick", m.S, m.P, m.X)
		}
	}
	if n == 0 {
		t.Error("no print")
	}
}

func BenchmarkTape(b *testing.B) {
	s := still(b, Config{Rate: 5000, Steady: true})
	c := &client{s: s, out: make(chan outFrame, 1<<16), authed: true, subs: subscriptions{}}
	for _, ch := range channels {
		c.subs[ch.name] = testSymbols
	}
	s.clients[c] = struct{}{}
	tp := newTeller(s)
	at := firstBucket
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		tp.bucket(at)
		at++
		n += len(tp.out)
		for len(c.out) > 0 {
			<-c.out
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
