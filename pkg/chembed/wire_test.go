package chembed_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/go-faster/city"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/native"
)

// dial connects to the native protocol's port and says nothing.
func dial(t testing.TB, srv *chembed.Server) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", srv.NativeAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c.(*net.TCPConn)
}

// wire builds what a client of the native protocol sends.
type wire []byte

func (w wire) num(v uint64) wire  { return binary.AppendUvarint(w, v) }
func (w wire) str(s string) wire  { return append(w.num(uint64(len(s))), s...) }
func (w wire) raw(b ...byte) wire { return append(w, b...) }

func (w wire) nums(vs ...uint64) wire {
	for _, v := range vs {
		w = w.num(v)
	}
	return w
}

func (w wire) strs(texts ...string) wire {
	for _, s := range texts {
		w = w.str(s)
	}
	return w
}

const wireRevision = 54460

// wireHello is a client's hello with its addendum.
func wireHello() wire {
	return wire{}.num(0).str("client").nums(1, 1, wireRevision).strs("", "", "").str("")
}

// wireQuery is a query behind the hello, with the empty block that ends its external tables.
func wireQuery(sql string, compressed bool) wire {
	w := wireHello().num(1).str("").raw(1).strs("", "", "").raw(make([]byte, 8)...).raw(1).strs("", "", "").nums(1, 1, wireRevision)
	w = w.str("").nums(0, 0).raw(0).nums(0, 0, 0).str("").str("").num(2)
	if compressed {
		return w.num(1).str(sql).str("").raw(2, 0).raw(wireFrame(native.MethodLZ4, wireBlock(0, 0))...)
	}
	return w.num(0).str(sql).str("").raw(2, 0).raw(wireBlock(0, 0)...)
}

// wireBlock begins a block.
func wireBlock(columns, rows uint64) wire {
	return wire{1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0}.nums(columns, rows)
}

// wireFrame compresses.
func wireFrame(method native.Method, content []byte) []byte {
	var b bytes.Buffer
	f := native.NewFrameWriter(&b, method)
	defer f.Close()
	_, _ = f.Write(content)
	_ = f.Flush()
	return b.Bytes()
}

// wireSum puts the right checksum on a frame that was tampered with.
func wireSum(frame []byte) []byte {
	sum := city.CH128(frame[16:])
	binary.LittleEndian.PutUint64(frame, sum.Low)
	binary.LittleEndian.PutUint64(frame[8:], sum.High)
	return frame
}
