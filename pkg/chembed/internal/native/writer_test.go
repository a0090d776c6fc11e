package native

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// Whatever is written and lent, in whatever sizes, arrives in its order, by one call or by several.
func TestWriter(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var plain bytes.Buffer
	out, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	arrived := make(chan []byte)
	go func() {
		b, err := io.ReadAll(in)
		if err != nil {
			t.Error(err)
		}
		arrived <- b
	}()
	vectored, gathered := NewWriter(out), NewWriter(&plain)
	rnd := rand.New(rand.NewPCG(3, 4))
	var want []byte
	for range 300 {
		p := bytes.Repeat([]byte{byte(rnd.Uint32())}, []int{0, 1, 10, 100, lendMin, writeBuffer - 1, writeBuffer + 1}[rnd.IntN(7)])
		want = append(want, p...)
		lend := rnd.IntN(2) == 0
		for _, w := range []*Writer{vectored, gathered} {
			if lend {
				err = w.Lend(p)
			} else {
				_, err = w.Write(p)
			}
			if rnd.IntN(9) == 0 {
				err = errors.Join(err, w.Flush())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, w := range []*Writer{vectored, gathered} {
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	_ = out.Close()
	if got := <-arrived; !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d arrived, or others", len(got), len(want))
	}
	if !bytes.Equal(plain.Bytes(), want) {
		t.Errorf("%d bytes of %d were gathered, or others", plain.Len(), len(want))
	}
}

// What was lent when something went wrong is not touched any more.
func TestWriterAbandons(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	w.vector = true
	wrong := errors.New("wrong")
	w.Str("half of a packet")
	if err := w.Lend(make([]byte, lendMin)); err != nil {
		t.Fatal(err)
	}
	w.Abandon(wrong)
	w.Str("more")
	if err := w.Lend(make([]byte, lendMin)); !errors.Is(err, wrong) {
		t.Error(err)
	}
	if err := w.Flush(); !errors.Is(err, wrong) || out.Len() > 0 {
		t.Errorf("%v, %d bytes went out", err, out.Len())
	}
}
