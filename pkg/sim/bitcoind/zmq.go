package bitcoind

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// publisher is Core's ZMQ push, ZMTP 3.0: three frames, the topic, the block's hash (32 bytes, in the order in which RPC prints it) and a
// number that counts the topic's messages (four bytes, little end first). It is not github.com/go-zeromq/zmq4, whose publisher leaves a goroutine
// behind; the tests subscribe with that.
type publisher struct {
	ln   net.Listener
	mute atomic.Bool
	done sync.WaitGroup

	mu    sync.Mutex
	seq   uint32
	conns map[net.Conn]bool // whether it has subscribed
	shut  bool
}

const topic = "hashblock"

func newPublisher(endpoint string) (*publisher, error) {
	addr, ok := strings.CutPrefix(endpoint, "tcp://")
	if !ok {
		return nil, fmt.Errorf("listen for ZMQ on %s: write tcp://host:port", endpoint)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for ZMQ: %w", err)
	}
	p := &publisher{ln: ln, conns: map[net.Conn]bool{}}
	p.done.Go(p.accept)
	return p, nil
}

func (p *publisher) endpoint() string { return "tcp://" + p.ln.Addr().String() }

func (p *publisher) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return // closed
		}
		p.mu.Lock()
		if p.shut {
			p.mu.Unlock()
			_ = c.Close()
			return
		}
		p.conns[c] = false
		p.mu.Unlock()
		p.done.Go(func() {
			_ = p.serve(c) // a subscriber that breaks the protocol is cut, as by libzmq
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
			_ = c.Close()
		})
	}
}

// serve shakes hands and reads subscriptions until the subscriber goes.
func (p *publisher) serve(c net.Conn) error {
	greeting := make([]byte, 64)
	greeting[0], greeting[9], greeting[10] = 0xff, 0x7f, 3
	copy(greeting[12:], "NULL")
	if _, err := c.Write(greeting); err != nil {
		return err
	}
	theirs := make([]byte, 64)
	if _, err := io.ReadFull(c, theirs); err != nil {
		return err
	}
	if theirs[0] != 0xff || theirs[9] != 0x7f || theirs[10] < 3 || !bytes.HasPrefix(theirs[12:], []byte("NULL\x00")) {
		return errors.New("not ZMTP 3 without security")
	}
	ready := "\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB"
	if _, err := c.Write(append([]byte{4, byte(len(ready))}, ready...)); err != nil {
		return err
	}
	for {
		var head [2]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err
		}
		if head[0]&2 != 0 {
			return errors.New("a long frame, which no subscription is")
		}
		body := make([]byte, head[1])
		if _, err := io.ReadFull(c, body); err != nil {
			return err
		}
		if head[0]&4 == 0 && len(body) > 0 && strings.HasPrefix(topic, string(body[1:])) {
			p.mu.Lock()
			p.conns[c] = body[0] == 1
			p.mu.Unlock()
		}
	}
}

// message is the frames of one push: all but the last say that more follow.
func message(frames ...[]byte) []byte {
	var out []byte
	for i, f := range frames {
		more := byte(1)
		if i == len(frames)-1 {
			more = 0
		}
		out = append(append(out, more, byte(len(f))), f...)
	}
	return out
}

func (p *publisher) send(hash string) {
	id, err := hex.DecodeString(hash)
	if err != nil {
		return // unreachable: the chain's own hashes
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	data := message([]byte(topic), id, binary.LittleEndian.AppendUint32(nil, p.seq))
	p.seq++
	if !p.mute.Load() {
		p.write(data)
	}
}

// write sends to all subscribers; who does not take it within a second is cut.
func (p *publisher) write(data []byte) {
	for c, subscribed := range p.conns {
		if subscribed {
			_ = c.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := c.Write(data); err != nil {
				_ = c.Close()
			}
		}
	}
}

// subscribers counts who would get a push now.
func (p *publisher) subscribers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, subscribed := range p.conns {
		if subscribed {
			n++
		}
	}
	return n
}

func (p *publisher) dropAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *publisher) inject(data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(data)
}

func (p *publisher) close() {
	p.mu.Lock()
	p.shut = true
	p.mu.Unlock()
	_ = p.ln.Close()
	p.dropAll()
	p.done.Wait()
}
