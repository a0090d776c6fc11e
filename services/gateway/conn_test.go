package gateway

import (
	"net"
	"testing"
	"time"
)

// pair is a connection as the gateway has it, and the client's side of it.
func pair(t *testing.T) (ours *conn, other net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if other, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	accepted, err := listener{Listener: ln}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = accepted.Close() })
	return accepted.(*conn), other
}

// A socket that was full once and was waited for is written to as before, also when the time is over that it was given then. It was not: whoever was slow once
// was cut off half a minute later, without a word.
func TestPatienceEndsWithItsWrite(t *testing.T) {
	ours, _ := pair(t)
	const patience = 20 * time.Millisecond
	if err := ours.writeAll([]byte("waited for"), func() time.Duration { return patience }, func() {}); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * patience)
	if n, err := ours.tryWrite([]byte("later")); n != 5 || err != nil {
		t.Errorf("wrote %d bytes (%v), want 5", n, err)
	}
}
