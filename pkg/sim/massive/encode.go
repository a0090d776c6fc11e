package massive

import (
	"fmt"
	"strconv"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/tape"
)

const (
	millisecond = int64(time.Millisecond)
	microsecond = int64(time.Microsecond)
)

// price writes n / 10^scale as a JSON number without trailing zeros.
func price(n int64, scale int) string {
	text := fmt.Sprintf("%0*d", scale+1, n)
	whole, frac := text[:len(text)-scale], text[len(text)-scale:]
	for frac != "" && frac[len(frac)-1] == '0' {
		frac = frac[:len(frac)-1]
	}
	if frac == "" {
		return whole
	}
	return whole + "." + frac
}

func usd(units int64) string { return price(units, 4) }

func ints(b []byte, list []int) []byte {
	b = append(b, '[')
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return append(b, ']')
}

// appendTrade writes a print of the stream. Its time is cut to the millisecond.
func appendTrade(b []byte, t *tape.Tick) []byte {
	x := exchangeIDs[t.Exchange]
	b = fmt.Appendf(b, `{"ev":"T","sym":%q,"x":%d,"i":"%d","z":%d,"p":%s,"s":%d,"ds":"%d"`,
		t.Security.Symbol, x, t.ID, tapeIDs[t.Security.Tape], usd(t.Price), t.Size, t.Size)
	if c := conditions(t.Security.Tape, t.Conditions); len(c) > 0 {
		b = ints(append(b, `,"c":`...), c)
	}
	b = fmt.Appendf(b, `,"t":%d,"q":%d`, t.At/millisecond, t.Sequence)
	if x == finra {
		b = fmt.Appendf(b, `,"trfi":%d,"trft":%d`, trf, t.At/millisecond)
	}
	return append(b, '}')
}

// lot is the shares of a round lot, in which quote sizes are told.
const lot = 100

func appendQuote(b []byte, t *tape.Tick) []byte {
	return fmt.Appendf(b, `{"ev":"Q","sym":%q,"bx":%d,"bp":%s,"bs":%d,"ax":%d,"ap":%s,"as":%d,"c":1,"i":[604],"t":%d,"q":%d,"z":%d}`,
		t.Security.Symbol, exchangeIDs[t.Exchange], usd(t.Price), t.Size/lot, exchangeIDs[t.AskExchange], usd(t.Ask), t.AskSize/lot,
		t.At/millisecond, t.Sequence, tapeIDs[t.Security.Tape])
}

// appendLULD writes a band. Its time is in microseconds, whatever the documentation says.
func appendLULD(b []byte, t *tape.Tick) []byte {
	return fmt.Appendf(b, `{"ev":"LULD","T":%q,"h":%s,"l":%s,"i":[21],"z":%d,"t":%d,"q":%d}`,
		t.Security.Symbol, usd(t.Price), usd(t.Ask), tapeIDs[t.Security.Tape], t.At/microsecond, t.At/int64(tape.Bucket))
}

// appendAggregate writes the bar of a window of span ns, with what its day has come to.
func appendAggregate(b []byte, topic, symbol string, x, day *tape.Bar, span int64) []byte {
	return fmt.Appendf(b, `{"ev":%q,"sym":%q,"v":%d,"av":%d,"op":%s,"vw":%s,"o":%s,"c":%s,"h":%s,"l":%s,"a":%s,"z":%d,"s":%d,"e":%d}`,
		topic, symbol, x.V, day.V, usd(day.O), price(x.VW, 6), usd(x.O), usd(x.C), usd(x.H), usd(x.L), price(day.VW, 6), x.V/max(x.N, 1),
		x.At/millisecond, (x.At+span)/millisecond)
}

// imbalanceEvery is how often an imbalance is told in the last minutes before an auction.
const imbalanceEvery = int64(10 * time.Second / tape.Bucket)

// imbalance of the Nasdaq's next auction; nil when none is near. Its time is in nanoseconds.
func (s *Server) imbalance(sec *tape.Security, b int64) []byte {
	now := tape.BucketTime(b)
	midnight := s.cal.Midnight(s.cal.DateOf(now))
	for _, a := range []struct {
		at   time.Duration
		hhmm int
		code string
	}{{9*time.Hour + 30*time.Minute, 930, "M"}, {16 * time.Hour, 1600, "C"}} {
		if left := midnight.Add(a.at).Sub(now); left <= 0 || left > 5*time.Minute {
			continue
		}
		bar, ok := s.tape.DailyBar(s.cal, sec, s.cal.DateOf(now), now)
		if !ok {
			return nil
		}
		side := int64(100) * (b/imbalanceEvery%41 - 20)
		return fmt.Appendf(nil, `{"ev":"NOI","T":%q,"t":%d,"at":%d,"a":%q,"i":%d,"x":12,"o":%d,"p":%d,"b":%s}`,
			sec.Symbol, now.UnixNano(), a.hhmm, a.code, b/imbalanceEvery, side, 5000+b/imbalanceEvery%7*300, usd(bar.C))
	}
	return nil
}
