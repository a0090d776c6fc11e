package load

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
)

// Opcodes of RFC 6455.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// maxFrame is more than any server sends that coalesces what waits for a client.
const maxFrame = 8 << 20

var errFrame = errors.New("a frame that no server may send")

// nextFrame cuts the first frame off b, which a server sent: unmasked, without extensions. ok is false while the frame is not whole.
func nextFrame(b []byte) (op byte, payload, rest []byte, ok bool, err error) {
	if len(b) < 2 {
		return 0, nil, b, false, nil
	}
	if b[0]&0x70 != 0 || b[1]&0x80 != 0 {
		return 0, nil, b, false, errFrame
	}
	n, head := uint64(b[1]), 2
	switch n {
	case 126:
		if head = 4; len(b) < head {
			return 0, nil, b, false, nil
		}
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if head = 10; len(b) < head {
			return 0, nil, b, false, nil
		}
		n = binary.BigEndian.Uint64(b[2:])
	}
	if n > maxFrame {
		return 0, nil, b, false, errFrame
	}
	end := head + int(n)
	if len(b) < end {
		return 0, nil, b, false, nil
	}
	return b[0] & 0xF, b[head:end], b[end:], true, nil
}

// appendFrame appends a client's frame, masked as the RFC demands.
func appendFrame(b []byte, op byte, payload []byte) []byte {
	b = append(b, 0x80|op)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := rand.Uint32()
	b = binary.LittleEndian.AppendUint32(b, mask)
	for i, c := range payload {
		b = append(b, c^byte(mask>>(8*(i%4))))
	}
	return b
}
