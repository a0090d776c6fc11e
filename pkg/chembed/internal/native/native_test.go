package native

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/go-faster/city"
)

// pieces is a Source that gives a few bytes at a time.
type pieces struct {
	data []byte
	size int
	last int
}

func (p *pieces) Next() ([]byte, error) {
	if len(p.data) == 0 {
		return nil, io.EOF
	}
	n := min(p.size, len(p.data))
	out := p.data[:n]
	p.data, p.last = p.data[n:], n
	return out, nil
}

func (p *pieces) Done(int) error { return nil }

// column builds a column of a block at revision 0.
func column(name, typ string, data ...byte) []byte {
	b := binary.AppendUvarint(nil, uint64(len(name)))
	b = append(b, name...)
	b = binary.AppendUvarint(b, uint64(len(typ)))
	b = append(b, typ...)
	return append(b, data...)
}

func block(rows uint64, columns ...[]byte) []byte {
	b := binary.AppendUvarint(nil, uint64(len(columns)))
	b = binary.AppendUvarint(b, rows)
	return append(b, bytes.Join(columns, nil)...)
}

func u64(vs ...uint64) []byte {
	var b []byte
	for _, v := range vs {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// dynamic is the structure of a Dynamic of one type.
func dynamic(typ string) []byte {
	return cat(u64(1), []byte{32, 1, byte(len(typ))}, []byte(typ), u64(0))
}

// samples are blocks of two rows, one for each layout.
func samples() map[string][]byte {
	lc := cat(u64(1), u64(0x200, 2), []byte("\x00\x01a"), u64(2), []byte{1, 0})
	return map[string][]byte{
		"UInt16":                           block(2, column("a", "UInt16", 1, 0, 2, 0)),
		"String":                           block(2, column("a", "String", append(append([]byte{0x80, 1}, bytes.Repeat([]byte{'x'}, 128)...), 0)...)),
		"FixedString(3)":                   block(2, column("a", "FixedString(3)", []byte("abcdef")...)),
		"Nullable(UInt8)":                  block(2, column("a", "Nullable(UInt8)", 0, 1, 7, 0)),
		"Array(String)":                    block(2, column("a", "Array(String)", cat(u64(1, 2), []byte("\x01a\x01b"))...)),
		"empty arrays":                     block(2, column("a", "Array(LowCardinality(String))", cat(u64(1), u64(0, 0))...)),
		"LowCardinality(String)":           block(2, column("a", "LowCardinality(String)", lc...)),
		"LowCardinality(Nullable(String))": block(2, column("a", "LowCardinality(Nullable(String))", lc...)),
		"Map":                              block(2, column("a", "Map(String, UInt8)", cat(u64(1, 1), []byte("\x01k\x05"))...)),
		"Tuple":                            block(2, column("a", "Tuple(x UInt8, `y z` Decimal(9, 2))", []byte{1, 2, 1, 0, 0, 0, 2, 0, 0, 0}...)),
		"Variant":                          block(2, column("a", "Variant(String, UInt8)", cat(u64(0), []byte{1, 255, 9})...)),
		"Dynamic":                          block(2, column("a", "Dynamic", cat(dynamic("UInt64"), []byte{1, 255}, u64(42))...)),
		"Dynamic, flat":                    block(2, column("a", "Array(Dynamic)", cat(u64(3), []byte("\x01\x06UInt64"), u64(1, 2), []byte{0, 1}, u64(42))...)),
		"JSON":                             block(2, column("a", "JSON(z UInt8)", cat(u64(0), []byte("\x10\x01\x01a"), dynamic("String"), []byte{5, 6, 1, 255}, []byte("\x01x"), u64(0, 1), []byte("\x01k\x01v"))...)),
		"JSON, flat":                       block(2, column("a", "JSON", cat(u64(3), []byte("\x01\x01a"), u64(3), []byte("\x01\x06String"), []byte{0, 1}, []byte("\x01x"))...)),
		"JSON as text":                     block(2, column("a", "JSON", cat(u64(1), []byte("\x02{}\x02{}"))...)),
		"QBit":                             block(2, column("a", "QBit(BFloat16, 9)", bytes.Repeat([]byte{1}, 2*16*2)...)),
		"Tuple()":                          block(2, column("a", "Tuple()", 0, 0)),
		"sum":                              block(2, column("a", "AggregateFunction(sum, Nullable(UInt8))", cat([]byte{0, 1}, u64(7))...)),
		"uniq":                             block(2, column("a", "AggregateFunction(uniq, String)", []byte("\x00\x00\x01\x02aaaabbbb")...)),
		"argMax":                           block(2, column("a", "AggregateFunction(argMax, String, UInt8)", []byte("\xff\xff\xff\xff\x00\x02\x00\x00\x00x\x00\x01\x05")...)),
		"groupArray":                       block(2, column("a", "AggregateFunction(groupArrayIf, String, UInt8)", []byte("\x02\x01a\x00\x00")...)),
		"quantile":                         block(2, column("a", "AggregateFunction(quantiles(0.5, 0.9), UInt16)", cat(u64(8192, 2), []byte("\x03r 1abcd"), u64(8192, 0), []byte{0})...)),
		"Enum":                             block(2, column("a", "Enum8('a,)' = 1, 'it\\'s' = 2)", 1, 2)),
		"two columns":                      block(2, column("a", "UInt8", 1, 2), column("b", "DateTime64(9, 'UTC')", u64(1, 2)...)),
		"no rows":                          block(0, column("a", "LowCardinality(String)")),
		"end":                              block(0),
	}
}

// dressed is a block as a client of the newest revision sends it.
func dressed(t testing.TB, b []byte) []byte {
	var w Walker
	var out bytes.Buffer
	src := Bytes(b)
	if _, err := w.Walk(&src, func(p []byte) error { out.Write(p); return nil }, OutOptions(Revision)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A block comes through unchanged, whatever pieces it arrives in, and nothing
// behind its end is touched.
func TestWalkPassesBlocks(t *testing.T) {
	for name, b := range samples() {
		for size := 1; size < 40; size += 3 {
			var w Walker
			var out bytes.Buffer
			src := &pieces{data: append(bytes.Clone(b), "tail"...), size: size}
			info, err := w.Walk(src, func(p []byte) error { out.Write(p); return nil }, Options{OutEmpty: true})
			if err != nil {
				t.Fatalf("%s in pieces of %d: %v", name, size, err)
			}
			if !bytes.Equal(out.Bytes(), b) {
				t.Fatalf("%s in pieces of %d: %q became %q", name, size, b, out.Bytes())
			}
			if info.Rows > 0 && info.Rows != 2 {
				t.Fatalf("%s: %d rows", name, info.Rows)
			}
		}
	}
}

// What a client of a new revision sends reaches the engine at revision 0, and the
// other way round.
func TestWalkUndresses(t *testing.T) {
	for name, b := range samples() {
		d := dressed(t, b)
		var w Walker
		var out bytes.Buffer
		in := InOptions(Revision)
		in.OutEmpty = true
		src := &pieces{data: d, size: 3}
		if _, err := w.Walk(src, func(p []byte) error { out.Write(p); return nil }, in); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(out.Bytes(), b) {
			t.Errorf("%s: %q became %q", name, b, out.Bytes())
		}
	}
}

func TestWalkRefuses(t *testing.T) {
	f := func(name string, b []byte, want error) {
		t.Helper()
		var w Walker
		src := &pieces{data: b, size: 7}
		_, err := w.Walk(src, func([]byte) error { return nil }, Options{})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	for name, b := range samples() {
		if name != "end" {
			f(name+" cut short", b[:len(b)-1], io.ErrUnexpectedEOF)
		}
	}
	f("JSON of a later version", block(1, column("a", "JSON", u64(9)...)), ErrUnsupported)
	f("Dynamic of a later version", block(1, column("a", "Dynamic", u64(9)...)), ErrUnsupported)
	f("Dynamic without end", block(1, column("a", "Dynamic", bytes.Repeat(cat(u64(3), []byte("\x01\x07Dynamic")), 1000)...)), ErrMalformed)
	f("states of a function that is not known", block(1, column("a", "AggregateFunction(topK(3), UInt8)", 0)), ErrUnsupported)
	f("states of a later version", block(1, column("a", "AggregateFunction(1, sum, UInt8)", 0)), ErrUnsupported)
	f("states of no function", block(1, column("a", "AggregateFunction()", 0)), ErrMalformed)
	f("state with a text of a negative length", block(1, column("a", "AggregateFunction(min, String)", 0xfe, 0xff, 0xff, 0xff)), ErrMalformed)
	f("state of too many", block(1, column("a", "AggregateFunction(uniqExact, UInt8)", 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)), ErrMalformed)
	f("sample of too many", block(1, column("a", "AggregateFunction(quantile, UInt8)", cat(u64(1<<63, 1<<62), []byte{0})...)), ErrMalformed)
	f("unknown type", block(1, column("a", "Foo", 0)), ErrUnsupported)
	f("unclosed type", block(1, column("a", "Array(UInt8", 0)), ErrMalformed)
	f("deep type", block(1, column("a", strings.Repeat("Array(", 100)+"UInt8"+strings.Repeat(")", 100), 0)), ErrMalformed)
	f("rows without columns", block(1), ErrMalformed)
	f("too many columns", binary.AppendUvarint(binary.AppendUvarint(nil, 1<<30), 1), ErrMalformed)
	f("long name", cat(block(1)[:0], []byte{1, 1}, binary.AppendUvarint(nil, 1<<40)), ErrMalformed)
	f("endless number", bytes.Repeat([]byte{0xff}, 20), ErrMalformed)
	f("low cardinality version", block(1, column("a", "LowCardinality(String)", u64(9)...)), ErrMalformed)
	f("low cardinality without progress", block(1, column("a", "LowCardinality(String)", u64(1, 0x200, 0, 0)...)), ErrMalformed)
	f("array of too many", block(1, column("a", "Array(UInt8)", u64(1<<63)...)), ErrMalformed)
}

// A sink's error ends the walk.
func TestWalkSinkError(t *testing.T) {
	stop := errors.New("stop")
	var w Walker
	src := Bytes(samples()["String"])
	if _, err := w.Walk(&src, func([]byte) error { return stop }, Options{}); !errors.Is(err, stop) {
		t.Fatal(err)
	}
}

func TestFrames(t *testing.T) {
	data := make([]byte, outFrame+outFrame/16)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(data); i += 8 {
		v := rnd.Uint64()
		if i < outFrame {
			v &= 0x0303030303030303 // compressible
		}
		binary.LittleEndian.PutUint64(data[i:], v)
	}
	for _, m := range []Method{MethodNone, MethodLZ4, MethodZSTD} {
		var wire bytes.Buffer
		w := NewFrameWriter(&wire, m)
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(1<<21))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		r := NewFrameReader(bufio.NewReader(bytes.NewReader(wire.Bytes())))
		var got []byte
		for {
			b, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("method %#x: %v", m, err)
			}
			got = append(got, b...)
		}
		r.Close()
		if !bytes.Equal(got, data) {
			t.Errorf("method %#x: %d bytes became %d", m, len(data), len(got))
		}
		// One bit anywhere is noticed.
		broken := bytes.Clone(wire.Bytes())
		broken[frameChecksum+frameHeader+5] ^= 1
		r = NewFrameReader(bufio.NewReader(bytes.NewReader(broken)))
		if _, err := r.Next(); !errors.Is(err, ErrMalformed) {
			t.Errorf("method %#x: broken frame: %v", m, err)
		}
		r.Close()
	}
}

// A frame that promises more than it can hold is refused before room is made.
func TestFrameBomb(t *testing.T) {
	head := make([]byte, frameChecksum+frameHeader+10)
	head[frameChecksum] = byte(MethodLZ4)
	binary.LittleEndian.PutUint32(head[frameChecksum+1:], frameHeader+10)
	binary.LittleEndian.PutUint32(head[frameChecksum+5:], 100<<20)
	r := NewFrameReader(bufio.NewReader(bytes.NewReader(head)))
	if _, err := r.Next(); !errors.Is(err, ErrMalformed) || cap(r.data) > 0 {
		t.Fatalf("%v, %d bytes made", err, cap(r.data))
	}
}

// So is one that expands to more than it promises, which ZSTD can without end.
func TestFrameBombOfZSTD(t *testing.T) {
	var wire bytes.Buffer
	w := NewFrameWriter(&wire, MethodZSTD)
	if _, err := w.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	bomb := wire.Bytes()
	binary.LittleEndian.PutUint32(bomb[frameChecksum+5:], 100)
	sum := city.CH128(bomb[frameChecksum:])
	binary.LittleEndian.PutUint64(bomb, sum.Low)
	binary.LittleEndian.PutUint64(bomb[8:], sum.High)
	r := NewFrameReader(bufio.NewReader(bytes.NewReader(bomb)))
	defer r.Close()
	if _, err := r.Next(); !errors.Is(err, ErrMalformed) || cap(r.data) > 1000 {
		t.Fatalf("%v, %d bytes made", err, cap(r.data))
	}
}

func TestUnquote(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := Unquote(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	f(`'it\'s'`, "it's")
	f(`'a\\b\n\t\0'`, "a\\b\n\t\x00")
	f(`'it''s'`, "it's")
	f(`plain`, "plain")
	f(`''`, "")
	f(`'`, "'")
}

func FuzzWalk(f *testing.F) {
	for _, b := range samples() {
		f.Add(b, false)
		f.Add(dressed(f, b), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, new bool) {
		o := Options{OutEmpty: true}
		if new {
			o = InOptions(Revision)
		}
		walk := func(size int) (string, Block, error) {
			var w Walker
			var out bytes.Buffer
			src := &pieces{data: b, size: size}
			info, err := w.Walk(src, func(p []byte) error { out.Write(p); return nil }, o)
			return out.String(), info, err
		}
		whole, info, err := walk(len(b) + 1)
		if len(whole) > len(b)+2*binary.MaxVarintLen64 {
			t.Fatalf("%d bytes became %d", len(b), len(whole))
		}
		split, info2, err2 := walk(1)
		if (err == nil) != (err2 == nil) || err == nil && (whole != split || !reflect.DeepEqual(info, info2)) {
			t.Fatalf("whole: %q %v %v; in pieces: %q %v %v", whole, info, err, split, info2, err2)
		}
	})
}

func FuzzFrames(f *testing.F) {
	for _, m := range []Method{MethodNone, MethodLZ4, MethodZSTD} {
		var wire bytes.Buffer
		w := NewFrameWriter(&wire, m)
		_, _ = w.Write([]byte("a few bytes, a few bytes, a few bytes"))
		_ = w.Flush()
		w.Close()
		f.Add(wire.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewFrameReader(bufio.NewReader(bytes.NewReader(b)))
		defer r.Close()
		for {
			if _, err := r.Next(); err != nil {
				return
			}
		}
	})
}

// FuzzPackets reads a client's conversation: hello, then queries.
func FuzzPackets(f *testing.F) {
	var conv []byte
	str := func(s string) { conv = append(binary.AppendUvarint(conv, uint64(len(s))), s...) }
	str("client")
	conv = append(conv, 1, 2)
	conv = binary.AppendUvarint(conv, Revision)
	str("default")
	str("user")
	str("")
	str("query-id")
	conv = append(conv, 1) // initial query
	str("user")
	str("")
	str("127.0.0.1:1")
	conv = append(conv, make([]byte, 8)...)
	conv = append(conv, 1)
	str("os")
	str("host")
	str("name")
	conv = append(conv, 1, 1, 1)
	str("quota")
	conv = append(conv, 0, 0, 0, 0, 0, 0)
	str("max_threads")
	conv = append(conv, 1)
	str("1")
	str("")
	str("")
	conv = append(conv, 2, 1)
	str("SELECT 1")
	str("")
	f.Add(conv, uint64(Revision))
	f.Add(conv, uint64(MinRevision))
	f.Fuzz(func(t *testing.T, b []byte, rev uint64) {
		r := Reader{bufio.NewReader(bytes.NewReader(b))}
		if _, err := r.Hello(); err != nil {
			return
		}
		for {
			q, err := r.Query(rev, func(name string) string { return map[byte]string{'u': "UInt64", 'i': "Int64", 's': "String"}[name[0]] })
			if err != nil {
				return
			}
			if len(q.Body) > len(b) {
				t.Fatal("a query longer than its packet")
			}
		}
	})
}
