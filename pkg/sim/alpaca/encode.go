package alpaca

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/vmihailenco/msgpack/v5"
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
func (t *tick) statusText() (sc, sm, rc, rm string) {
	if t.resumed {
		return "T", "Trading Resumption", "LUDP", "Volatility Trading Pause"
	}
	return "P", "Volatility Trading Pause", "LUDP", "Volatility Trading Pause"
}

// appendTick writes a message of the stream as a JSON object.
func appendTick(b []byte, t *tick) []byte {
	b = append(b, `{"T":"`...)
	b = append(b, t.kind)
	b = append(b, '"')
	b = appendText(b, "S", t.s.symbol)
	switch t.kind {
	case 't':
		b = appendInt(b, "i", int64(t.id))
		b = appendText(b, "x", string(t.ex))
		b = appendPrice(b, "p", t.price)
		b = appendInt(b, "s", t.size)
		b = appendTime(b, t.at)
		b = appendList(b, "c", t.cond)
	case 'q':
		b = appendText(b, "bx", string(t.ex))
		b = appendPrice(b, "bp", t.price)
		b = appendInt(b, "bs", t.size)
		b = appendText(b, "ax", string(t.askEx))
		b = appendPrice(b, "ap", t.ask)
		b = appendInt(b, "as", t.askSize)
		b = appendTime(b, t.at)
		b = appendList(b, "c", t.cond)
	case 'x':
		b = appendInt(b, "i", int64(t.id))
		b = appendText(b, "x", string(t.ex))
		b = appendPrice(b, "p", t.price)
		b = appendInt(b, "s", t.size)
		b = appendText(b, "a", "C")
		b = appendTime(b, t.told)
	case 'c':
		b = appendText(b, "x", string(t.ex))
		b = appendInt(b, "oi", int64(t.id))
		b = appendPrice(b, "op", t.price)
		b = appendInt(b, "os", t.size)
		b = appendList(b, "oc", t.cond)
		b = appendInt(b, "ci", int64(t.toID))
		b = appendPrice(b, "cp", t.to)
		b = appendInt(b, "cs", t.size)
		b = appendList(b, "cc", t.cond)
		b = appendTime(b, t.told)
	case 's':
		sc, sm, rc, rm := t.statusText()
		b = appendText(b, "sc", sc)
		b = appendText(b, "sm", sm)
		b = appendText(b, "rc", rc)
		b = appendText(b, "rm", rm)
		b = appendTime(b, t.at)
	case 'l':
		b = appendPrice(b, "u", t.price)
		b = appendPrice(b, "d", t.ask)
		b = appendText(b, "i", "B")
		b = appendTime(b, t.at)
	}
	b = appendText(b, "z", t.s.tape)
	return append(b, '}')
}

// appendBarFields writes a bar's fields behind an opened object that has a field already.
func appendBarFields(b []byte, x *bar) []byte {
	b = appendPrice(b, "o", x.o)
	b = appendPrice(b, "h", x.h)
	b = appendPrice(b, "l", x.l)
	b = appendPrice(b, "c", x.c)
	b = appendInt(b, "v", x.v)
	b = appendInt(b, "n", x.n)
	b = append(b, `,"vw":`...)
	return appendDecimal(b, x.vw, 6)
}

func appendBar(b []byte, kind byte, s *security, x *bar) []byte {
	b = append(b, `{"T":"`...)
	b = append(b, kind)
	b = append(b, '"')
	b = appendText(b, "S", s.symbol)
	b = appendBarFields(b, x)
	b = appendTime(b, x.at)
	return append(b, '}')
}

// appendTold writes a print as REST does.
func appendTold(b []byte, t *told) []byte {
	b = append(b, `{"z":"`...)
	b = append(b, t.s.tape...)
	b = append(b, '"')
	b = appendTime(b, t.at)
	b = appendText(b, "x", string(t.ex))
	b = appendPrice(b, "p", t.price)
	b = appendInt(b, "s", t.size)
	b = appendList(b, "c", t.cond)
	b = appendInt(b, "i", int64(t.id))
	if t.u != "" {
		b = appendText(b, "u", t.u)
	}
	return append(b, '}')
}

// appendToldQuote writes a quote as REST does.
func appendToldQuote(b []byte, t *tick) []byte {
	b = append(b, `{"z":"`...)
	b = append(b, t.s.tape...)
	b = append(b, '"')
	b = appendTime(b, t.at)
	b = appendText(b, "ax", string(t.askEx))
	b = appendPrice(b, "ap", t.ask)
	b = appendInt(b, "as", t.askSize)
	b = appendText(b, "bx", string(t.ex))
	b = appendPrice(b, "bp", t.price)
	b = appendInt(b, "bs", t.size)
	b = appendList(b, "c", t.cond)
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

func dollars(units int64) float64 { return float64(units) / unit }
func stamp(ns int64) time.Time    { return time.Unix(0, ns).UTC() }

func (p *packer) tick(t *tick) []byte {
	T, S, at, z := string(t.kind), t.s.symbol, stamp(t.at), t.s.tape
	switch t.kind {
	case 't':
		return p.pack("T", T, "S", S, "i", t.id, "x", string(t.ex), "p", dollars(t.price), "s", t.size, "t", at, "c", t.cond, "z", z, "r", at)
	case 'q':
		return p.pack("T", T, "S", S, "bx", string(t.ex), "bp", dollars(t.price), "bs", t.size, "ax", string(t.askEx), "ap", dollars(t.ask), "as", t.askSize,
			"t", at, "c", t.cond, "z", z)
	case 'x':
		return p.pack("T", T, "S", S, "i", t.id, "x", string(t.ex), "p", dollars(t.price), "s", t.size, "a", "C", "t", stamp(t.told), "z", z)
	case 'c':
		return p.pack("T", T, "S", S, "x", string(t.ex), "oi", t.id, "op", dollars(t.price), "os", t.size, "oc", t.cond,
			"ci", t.toID, "cp", dollars(t.to), "cs", t.size, "cc", t.cond, "t", stamp(t.told), "z", z)
	case 's':
		sc, sm, rc, rm := t.statusText()
		return p.pack("T", T, "S", S, "sc", sc, "sm", sm, "rc", rc, "rm", rm, "t", at, "z", z)
	default:
		return p.pack("T", T, "S", S, "u", dollars(t.price), "d", dollars(t.ask), "i", "B", "t", at, "z", z)
	}
}

func (p *packer) bar(kind byte, s *security, x *bar) []byte {
	return p.pack("T", string(kind), "S", s.symbol, "o", dollars(x.o), "h", dollars(x.h), "l", dollars(x.l), "c", dollars(x.c), "v", x.v, "n", x.n,
		"vw", float64(x.vw)/1e6, "t", stamp(x.at))
}
