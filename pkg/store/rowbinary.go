package store

import "encoding/binary"

// The columns' values as RowBinary writes them: numbers little-endian, text and lists behind their lengths as varints, NULL as a byte of 1.

func (c *fixed) binary(dst []byte, i int) []byte {
	return append(dst, c.buf[i*c.width:(i+1)*c.width]...)
}

func (c *nullable) binary(dst []byte, i int) []byte {
	if c.nulls[i] != 0 {
		return append(dst, 1)
	}
	return append(append(dst, 0), c.buf[i*8:(i+1)*8]...)
}

// binary is cheap for one row after another.
func (c *text) binary(dst []byte, i int) []byte {
	if i < c.next {
		c.next, c.at = 0, 0
	}
	for {
		n, width := binary.Uvarint(c.buf[c.at:])
		from := c.at
		c.next, c.at = c.next+1, from+width+int(n)
		if c.next > i {
			return append(dst, c.buf[from:c.at]...)
		}
	}
}

func (c *dict) binary(dst []byte, i int) []byte {
	var k uint32
	switch at := i * c.width; c.width {
	case 1:
		k = uint32(c.keys[at])
	case 2:
		k = uint32(binary.LittleEndian.Uint16(c.keys[at:]))
	default:
		k = binary.LittleEndian.Uint32(c.keys[at:])
	}
	return appendText(dst, c.words[k])
}

func (c *list) binary(dst []byte, i int) []byte {
	from, to := rowRange(c.offsets, i)
	dst = binary.AppendUvarint(dst, uint64(to-from))
	for j := from; j < to; j++ {
		dst = c.values.binary(dst, j)
	}
	return dst
}

func (c *pairs) binary(dst []byte, i int) []byte {
	from, to := rowRange(c.offsets, i)
	dst = binary.AppendUvarint(dst, uint64(to-from))
	at := 0
	if i > 0 {
		at = c.ends[i-1]
	}
	for j := from; j < to; j++ {
		dst = c.keys.binary(dst, j)
		n, width := binary.Uvarint(c.values[at:])
		end := at + width + int(n)
		dst = append(dst, c.values[at:end]...)
		at = end
	}
	return dst
}

func (c *array) binary(dst []byte, i int) []byte {
	from, to := rowRange(c.offsets, i)
	dst = binary.AppendUvarint(dst, uint64(to-from))
	return append(dst, c.values.buf[from*c.values.width:to*c.values.width]...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// rowRange is where row i's values begin and end, by the offsets of a list.
func rowRange(offsets []byte, i int) (from, to int) {
	if i > 0 {
		from = int(binary.LittleEndian.Uint64(offsets[(i-1)*8:]))
	}
	return from, int(binary.LittleEndian.Uint64(offsets[i*8:]))
}
