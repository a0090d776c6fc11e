package hashprice

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"
)

// A subscriber of ZMTP 3.0 without security, as much as Bitcoin Core's push of block hashes needs. It is our own because the library
// (github.com/go-zeromq/zmq4) allocates whatever length a frame claims, and waits for a publisher in ways that do not end with a context.

// zmqTopic is what is subscribed to; the push has three frames: the topic, the hash, a number.
const zmqTopic = "hashblock"

// zmqFrameMost bounds a frame: the topic, a hash and a number are all that is expected, commands are short too.
const zmqFrameMost = 1024

// listenForBlocks calls found for each pushed block until ctx ends, coming again with a pause when the connection is lost. What is pushed
// is not trusted with more than that: the block itself is asked for.
func listenForBlocks(ctx context.Context, endpoint string, log *slog.Logger, found func()) {
	const shortest, longest = 250 * time.Millisecond, 30 * time.Second
	wait, told := shortest, false
	for {
		began := time.Now()
		err := subscribe(ctx, endpoint, found)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > longest {
			wait, told = shortest, false
		}
		if !told {
			log.Warn("bitcoind's push of blocks is lost; polling goes on, and it is tried again", "endpoint", endpoint, "err", err)
			told = true
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, longest)
	}
}

// subscribe lives with one connection.
func subscribe(ctx context.Context, endpoint string, found func()) error {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(endpoint, "tcp://"))
	if err != nil {
		return fmt.Errorf("dial %s: %w", endpoint, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		stop()
		_ = conn.Close()
	}()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := zmtpHello(conn); err != nil {
		return fmt.Errorf("subscribe to %s: %w", endpoint, err)
	}
	_ = conn.SetDeadline(time.Time{}) // ten minutes without a block are nothing; TCP's keep-alives find a peer that is gone
	found()                           // what was found before we listened
	return zmtpRead(conn, func(frames [][]byte) {
		if len(frames) == 3 && string(frames[0]) == zmqTopic && len(frames[1]) == 32 {
			found()
		}
	})
}

// Flags of a frame.
const (
	zmtpMore    = 1
	zmtpLong    = 2
	zmtpCommand = 4
)

// zmtpHello exchanges greetings and the READY commands, and subscribes.
func zmtpHello(conn io.ReadWriter) error {
	greeting := make([]byte, 64)
	greeting[0], greeting[9], greeting[10] = 0xff, 0x7f, 3
	copy(greeting[12:], "NULL")
	if _, err := conn.Write(greeting); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	theirs := make([]byte, 64)
	if _, err := io.ReadFull(conn, theirs); err != nil {
		return fmt.Errorf("read greeting: %w", err)
	}
	if theirs[0] != 0xff || theirs[9] != 0x7f || theirs[10] < 3 {
		return errors.New("the peer does not speak ZMTP 3; is this the port of zmqpubhashblock?")
	}
	if !bytes.HasPrefix(theirs[12:32], []byte("NULL\x00")) {
		return errors.New("the peer wants authentication, which Bitcoin Core does not have")
	}
	ready := "\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
	if _, err := conn.Write(append([]byte{zmtpCommand, byte(len(ready))}, ready...)); err != nil {
		return fmt.Errorf("say ready: %w", err)
	}
	flags, body, err := zmtpFrame(conn)
	if err != nil {
		return fmt.Errorf("read ready: %w", err)
	}
	if flags&zmtpCommand == 0 || !bytes.HasPrefix(body, []byte("\x05READY")) {
		return fmt.Errorf("the peer answers %.40q instead of READY", body)
	}
	if _, err := conn.Write(append([]byte{0, byte(1 + len(zmqTopic)), 1}, zmqTopic...)); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// zmtpFrame reads one frame, never more than zmqFrameMost bytes of it.
func zmtpFrame(r io.Reader) (flags byte, body []byte, err error) {
	var head [9]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return 0, nil, err
	}
	size := uint64(head[1])
	if head[0]&zmtpLong != 0 {
		if _, err := io.ReadFull(r, head[2:9]); err != nil {
			return 0, nil, err
		}
		size = binary.BigEndian.Uint64(head[1:9])
	}
	if size > zmqFrameMost {
		return 0, nil, fmt.Errorf("a frame of %d bytes, more than %d", size, zmqFrameMost)
	}
	body = make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	return head[0], body, nil
}

// zmtpRead calls message for each whole message until the connection ends.
func zmtpRead(r io.Reader, message func(frames [][]byte)) error {
	var frames [][]byte
	for {
		flags, body, err := zmtpFrame(r)
		if err != nil {
			return fmt.Errorf("read push: %w", err)
		}
		if flags&zmtpCommand != 0 {
			continue // heartbeats, which Core does not send
		}
		if frames = append(frames, body); len(frames) > 8 {
			return errors.New("a message of more than eight frames")
		}
		if flags&zmtpMore == 0 {
			message(frames)
			frames = nil
		}
	}
}
