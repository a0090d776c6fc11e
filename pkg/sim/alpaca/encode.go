package alpaca

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/hashpivot/hashpivot/pkg/sim/tape"
)

// appendDecimal writes n / 10^scale as a JSON number without trailing zeros.
func appendDecimal(b []byte, n int64, scale int) []byte {
	pow := int64(1)
	for range scale {
		pow *= 10
	}
	b = strconv.AppendInt(b, n/pow, 10)
	frac := n % pow
	if frac == 0 {
		return b
	}
	b = append(b, '.')
	for pow /= 10; frac > 0; pow /= 10 {
		b = append(b, byte('0'+frac/pow))
		frac %= pow
	}
	return b
}

func appendPrice(b []byte, key string, units int64) []byte {
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":`...)
	return appendDecimal(b, units, 4)
}

func appendInt(b []byte, key string, n int64) []byte {
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":`...)
	return strconv.AppendInt(b, n, 10)
}

// appendText writes text that needs no escapes: symbols, codes and our own phrases.
func appendText(b []byte, key, text string) []byte {
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":"`...)
	b = append(b, text...)
	return append(b, '"')
}

func appendList(b []byte, key string, list []string) []byte {
	b = append(b, `,"`...)
	b = append(b, key...)
	b = append(b, `":[`...)
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, s...)
		b = append(b, '"')
	}
	return append(b, ']')
}

func appendTime(b []byte, ns int64) []byte {
	b = append(b, `,"t":"`...)
	b = time.Unix(0, ns).UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// statusText of a halt or a resumption, as the UTP tape words it.
func statusText(t *tape.Tick) (sc, sm, rc, rm string) {
	if t.Resumed {
		return "T", "Trading Resumption", "LUDP", "Volatility Trading Pause"
	}
	return "P", "Volatility Trading Pause", "LUDP", "Volatility Trading Pause"
}

// appendTick writes a message of the stream as a JSON object.
func appendTick(b []byte, t *tape.Tick) []byte {
	b = append(b, `{"T":"`...)
	b = append(b, t.Kind)
	b = append(b, '"')
	b = appendText(b, "S", t.Security.Symbol)
	switch t.Kind {
	case 't':
		b = appendInt(b, "i", int64(t.ID))
		b = appendText(b, "x", string(t.Exchange))
		b = appendPrice(b, "p", t.Price)
		b = appendInt(b, "s", t.Size)
		b = appendTime(b, t.At)
		b = appendList(b, "c", t.Conditions)
	case 'q':
		b = appendText(b, "bx", string(t.Exchange))
		b = appendPrice(b, "bp", t.Price)
		b = appendInt(b, "bs", t.Size)
		b = appendText(b, "ax", string(t.AskExchange))
		b = appendPrice(b, "ap", t.Ask)
		b = appendInt(b, "as", t.AskSize)
		b = appendTime(b, t.At)
		b = appendList(b, "c", t.Conditions)
	case 'x':
		b = appendInt(b, "i", int64(t.ID))
		b = appendText(b, "x", string(t.Exchange))
		b = appendPrice(b, "p", t.Price)
		b = appendInt(b, "s", t.Size)
		b = appendText(b, "a", "C")
		b = appendTime(b, t.ToldAt)
	case 'c':
		b = appendText(b, "x", string(t.Exchange))
		b = appendInt(b, "oi", int64(t.ID))
		b = appendPrice(b, "op", t.Price)
		b = appendInt(b, "os", t.Size)
		b = appendList(b, "oc", t.Conditions)
		b = appendInt(b, "ci", int64(t.CorrectedID))
		b = appendPrice(b, "cp", t.CorrectedPrice)
		b = appendInt(b, "cs", t.Size)
		b = appendList(b, "cc", t.Conditions)
		b = appendTime(b, t.ToldAt)
	case 's':
		sc, sm, rc, rm := statusText(t)
		b = appendText(b, "sc", sc)
		b = appendText(b, "sm", sm)
		b = appendText(b, "rc", rc)
		b = appendText(b, "rm", rm)
		b = appendTime(b, t.At)
	case 'l':
		b = appendPrice(b, "u", t.Price)
		b = appendPrice(b, "d", t.Ask)
		b = appendText(b, "i", "B")
		b = appendTime(b, t.At)
	}
	b = appendText(b, "z", t.Security.Tape)
	return append(b, '}')
}

// appendBarFields writes a bar's fields behind an opened object that has a field already.
func appendBarFields(b []byte, x *tape.Bar) []byte {
	b = appendPrice(b, "o", x.O)
	b = appendPrice(b, "h", x.H)
	b = appendPrice(b, "l", x.L)
	b = appendPrice(b, "c", x.C)
	b = appendInt(b, "v", x.V)
	b = appendInt(b, "n", x.N)
	b = append(b, `,"vw":`...)
	return appendDecimal(b, x.VW, 6)
}

func appendBar(b []byte, kind byte, s *tape.Security, x *tape.Bar) []byte {
	b = append(b, `{"T":"`...)
	b = append(b, kind)
	b = append(b, '"')
	b = appendText(b, "S", s.Symbol)
	b = appendBarFields(b, x)
	b = appendTime(b, x.At)
	return append(b, '}')
}

// appendTold writes a print as REST does.
func appendTold(b []byte, t *tape.Told) []byte {
	b = append(b, `{"z":"`...)
	b = append(b, t.Security.Tape...)
	b = append(b, '"')
	b = appendTime(b, t.At)
	b = appendText(b, "x", string(t.Exchange))
	b = appendPrice(b, "p", t.Price)
	b = appendInt(b, "s", t.Size)
	b = appendList(b, "c", t.Conditions)
	b = appendInt(b, "i", int64(t.ID))
	if t.Update != "" {
		b = appendText(b, "u", t.Update)
	}
	return append(b, '}')
}

// appendToldQuote writes a quote as REST does.
func appendToldQuote(b []byte, t *tape.Tick) []byte {
	b = append(b, `{"z":"`...)
	b = append(b, t.Security.Tape...)
	b = append(b, '"')
	b = appendTime(b, t.At)
	b = appendText(b, "ax", string(t.AskExchange))
	b = appendPrice(b, "ap", t.Ask)
	b = appendInt(b, "as", t.AskSize)
	b = appendText(b, "bx", string(t.Exchange))
	b = appendPrice(b, "bp", t.Price)
	b = appendInt(b, "bs", t.Size)
	b = appendList(b, "c", t.Conditions)
	return append(b, '}')
}

// packer writes MsgPack: the venue's other encoding, with prices as float64 and T as the first key.
type packer struct {
	buf bytes.Buffer
	enc *msgpack.Encoder
}

func newPacker() *packer {
	p := &packer{}
	p.enc = msgpack.NewEncoder(&p.buf)
	p.enc.UseCompactInts(true)
	return p
}

// pack encodes a map whose keys and values alternate. Writing to a buffer cannot fail and the types are ours: an error is a bug.
func (p *packer) pack(pairs ...any) []byte {
	p.buf.Reset()
	must(p.enc.EncodeMapLen(len(pairs) / 2))
	for _, x := range pairs {
		must(p.enc.Encode(x))
	}
	return bytes.Clone(p.buf.Bytes())
}

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("pack a simulated message: %v", err))
	}
}

func dollars(units int64) float64 { return float64(units) / tape.Unit }
func stamp(ns int64) time.Time    { return time.Unix(0, ns).UTC() }

func (p *packer) tick(t *tape.Tick) []byte {
	T, S, at, z := string(t.Kind), t.Security.Symbol, stamp(t.At), t.Security.Tape
	switch t.Kind {
	case 't':
		return p.pack("T", T, "S", S, "i", t.ID, "x", string(t.Exchange), "p", dollars(t.Price), "s", t.Size, "t", at, "c", t.Conditions, "z", z, "r", at)
	case 'q':
		return p.pack("T", T, "S", S, "bx", string(t.Exchange), "bp", dollars(t.Price), "bs", t.Size, "ax", string(t.AskExchange), "ap", dollars(t.Ask), "as", t.AskSize,
			"t", at, "c", t.Conditions, "z", z)
	case 'x':
		return p.pack("T", T, "S", S, "i", t.ID, "x", string(t.Exchange), "p", dollars(t.Price), "s", t.Size, "a", "C", "t", stamp(t.ToldAt), "z", z)
	case 'c':
		return p.pack("T", T, "S", S, "x", string(t.Exchange), "oi", t.ID, "op", dollars(t.Price), "os", t.Size, "oc", t.Conditions,
			"ci", t.CorrectedID, "cp", dollars(t.CorrectedPrice), "cs", t.Size, "cc", t.Conditions, "t", stamp(t.ToldAt), "z", z)
	case 's':
		sc, sm, rc, rm := statusText(t)
		return p.pack("T", T, "S", S, "sc", sc, "sm", sm, "rc", rc, "rm", rm, "t", at, "z", z)
	default:
		return p.pack("T", T, "S", S, "u", dollars(t.Price), "d", dollars(t.Ask), "i", "B", "t", at, "z", z)
	}
}

func (p *packer) bar(kind byte, s *tape.Security, x *tape.Bar) []byte {
	return p.pack("T", string(kind), "S", s.Symbol, "o", dollars(x.O), "h", dollars(x.H), "l", dollars(x.L), "c", dollars(x.C), "v", x.V, "n", x.N,
		"vw", float64(x.VW)/1e6, "t", stamp(x.At))
}
