package alpaca

import (
	"encoding/binary"
	"math"
	"strconv"
)

// take cuts n bytes off b.
func take(b []byte, n uint64) (head, rest []byte, err error) {
	if uint64(len(b)) < n {
		return nil, nil, errTruncated
	}
	return b[:n], b[n:], nil
}

// big reads a big-endian unsigned number of 1, 2, 4 or 8 bytes.
func big(b []byte, n int) (uint64, []byte, error) {
	head, rest, err := take(b, uint64(n))
	if err != nil {
		return 0, nil, err
	}
	switch n {
	case 1:
		return uint64(head[0]), rest, nil
	case 2:
		return uint64(binary.BigEndian.Uint16(head)), rest, nil
	case 4:
		return uint64(binary.BigEndian.Uint32(head)), rest, nil
	}
	return binary.BigEndian.Uint64(head), rest, nil
}

// scanPack reads one value from the beginning of b and checks all of it. A length in the frame is never trusted: nothing is allocated by it.
func scanPack(b []byte, depth int) (v value, rest []byte, err error) {
	if len(b) == 0 {
		return value{}, nil, errTruncated
	}
	c, whole := b[0], b
	b = b[1:]
	v.pack = true
	str := func(k kind, n uint64) (value, []byte, error) {
		head, rest, err := take(b, n)
		return value{kind: k, pack: true, raw: head}, rest, err
	}
	container := func(k kind) (value, []byte, error) {
		rest, err := skipPack(whole, k, depth)
		if err != nil {
			return value{}, nil, err
		}
		return value{kind: k, pack: true, raw: whole[:len(whole)-len(rest)]}, rest, nil
	}
	switch {
	case c <= 0x7f:
		v.kind, v.num = kUint, uint64(c)
		return v, b, nil
	case c >= 0xe0:
		v.kind, v.num = kInt, uint64(int64(int8(c)))
		return v, b, nil
	case c&0xf0 == 0x80, c == 0xde, c == 0xdf:
		return container(kMap)
	case c&0xf0 == 0x90, c == 0xdc, c == 0xdd:
		return container(kArray)
	case c&0xe0 == 0xa0:
		return str(kString, uint64(c&0x1f))
	}
	switch c {
	case 0xc0:
		return v, b, nil
	case 0xc2, 0xc3:
		v.kind = kBool
		return v, b, nil
	case 0xc4, 0xc5, 0xc6, 0xd9, 0xda, 0xdb:
		k, size := kOther, 1<<(c-0xc4)
		if c >= 0xd9 {
			k, size = kString, 1<<(c-0xd9)
		}
		n, after, err := big(b, size)
		if err != nil {
			return value{}, nil, err
		}
		b = after
		return str(k, n)
	case 0xca:
		n, rest, err := big(b, 4)
		v.kind, v.num = kFloat, math.Float64bits(shortest32(math.Float32frombits(uint32(n))))
		return v, rest, err
	case 0xcb:
		v.kind = kFloat
		v.num, rest, err = big(b, 8)
		return v, rest, err
	case 0xcc, 0xcd, 0xce, 0xcf:
		v.kind = kUint
		v.num, rest, err = big(b, 1<<(c-0xcc))
		return v, rest, err
	case 0xd0, 0xd1, 0xd2, 0xd3:
		v.kind = kInt
		size := 1 << (c - 0xd0)
		n, rest, err := big(b, size)
		shift := 64 - 8*size
		v.num = uint64(int64(n<<shift) >> shift)
		return v, rest, err
	case 0xc7, 0xc8, 0xc9:
		n, after, err := big(b, 1<<(c-0xc7))
		if err != nil {
			return value{}, nil, err
		}
		return packExt(after, n)
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		return packExt(b, 1<<(c-0xd4))
	}
	return value{}, nil, malformed("byte %#x begins no value", c)
}

// packExt reads an extension's type and n bytes: the timestamp is type -1, others are opaque.
func packExt(b []byte, n uint64) (value, []byte, error) {
	if len(b) == 0 {
		return value{}, nil, errTruncated
	}
	typ := int8(b[0])
	body, rest, err := take(b[1:], n)
	if err != nil {
		return value{}, nil, err
	}
	v := value{kind: kOther, pack: true, raw: body}
	if typ != -1 {
		return v, rest, nil
	}
	switch n {
	case 4:
		v.num = uint64(binary.BigEndian.Uint32(body))
	case 8:
		x := binary.BigEndian.Uint64(body)
		v.num, v.nsec = x&(1<<34-1), uint32(x>>34)
	case 12:
		v.num, v.nsec = binary.BigEndian.Uint64(body[4:]), binary.BigEndian.Uint32(body)
	default:
		return value{}, nil, malformed("a timestamp of %d bytes", n)
	}
	v.kind = kTime
	return v, rest, nil
}

// packLen reads the header of an array or map.
func packLen(b []byte) (n uint64, rest []byte, err error) {
	c, b := b[0], b[1:]
	switch c {
	case 0xdc, 0xde:
		return big(b, 2)
	case 0xdd, 0xdf:
		return big(b, 4)
	}
	return uint64(c & 0x0f), b, nil
}

// skipPack walks over an array or map and returns what is behind it. Every element takes a byte at least, so a length that lies ends at the end
// of the frame.
func skipPack(b []byte, k kind, depth int) ([]byte, error) {
	if depth == maxDepth {
		return nil, errDepth
	}
	n, b, err := packLen(b)
	if err != nil {
		return nil, err
	}
	if k == kMap {
		n *= 2
	}
	for ; n > 0; n-- {
		if _, b, err = scanPack(b, depth+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func packElements(b []byte, fn func(e value, raw []byte) error) error {
	n, b, err := packLen(b)
	for ; n > 0 && err == nil; n-- {
		var v value
		var after []byte
		if v, after, err = scanPack(b, 1); err == nil {
			err = fn(v, b[:len(b)-len(after)])
			b = after
		}
	}
	return err
}

func packFields(b []byte, fn func(key []byte, f value) error) error {
	n, b, err := packLen(b)
	if err != nil {
		return err
	}
	for ; n > 0; n-- {
		key, after, err := scanPack(b, 1)
		if err != nil {
			return err
		}
		v, after, err := scanPack(after, 1)
		if err != nil {
			return err
		}
		b = after
		if key.kind != kString {
			continue // not a key of this protocol: an unknown field
		}
		if err := fn(key.raw, v); err != nil {
			return err
		}
	}
	return nil
}

// shortest32 is the float64 with the same shortest decimal text as f, which is what the sender meant.
func shortest32(f float32) float64 {
	d, err := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	if err != nil {
		return float64(f)
	}
	return d
}
