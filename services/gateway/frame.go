package gateway

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// encoding is how a client is written to.
type encoding uint8

const (
	encJSON encoding = iota
	encProto
	encSSE
)

// variant is an encoding with or without compression. All clients of one variant of a subscription are sent the same bytes.
type variant struct {
	enc     encoding
	deflate bool
}

// Fields of hashpivot.live.v1.DataFrame as tags of length-delimited fields.
const (
	protoSub      = 1<<3 | 2
	protoMessages = 2<<3 | 2
	protoSkipped  = 3<<3 | 2
	protoSnapshot = 4 << 3
	protoPosition = 5<<3 | 2
)

const (
	// maxFrame bounds the payload of one data frame; one message more may overshoot it.
	maxFrame = 128 << 10
	// minDeflate is the payload from which compression pays: below, the time and the 20 bytes of overhead are not worth it.
	minDeflate = 512
)

// Opcodes of RFC 6455, section 5.2, with the final bit.
const (
	opText   = 0x81
	opBinary = 0x82
	opClose  = 0x88
	opPing   = 0x89
	opPong   = 0x8a
	rsv1     = 0x40 // compressed, RFC 7692
)

// appendWS appends a server's frame, which has no mask.
func appendWS(b []byte, op byte, payload []byte) []byte {
	b = append(b, op)
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// closeFrame is a close with its code and a reason, which is cut to what a control frame holds.
func closeFrame(code int, reason string) []byte {
	payload := binary.BigEndian.AppendUint16(nil, uint16(code))
	return appendWS(nil, opClose, append(payload, strings.ToValidUTF8(reason[:min(len(reason), 120)], "")...))
}

// deflaters are reused: one holds half a megabyte.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// tail is what RFC 7692, section 7.2.1 takes from the end of each message.
var tail = []byte{0, 0, 0xff, 0xff}

// message wraps a payload for the variant. name is the frame's type and id the last cursor, for Server-Sent Events.
func (v variant) message(payload []byte, binaryFrame bool, name, id string) []byte {
	if v.enc == encSSE {
		b := make([]byte, 0, len(payload)+len(name)+len(id)+32)
		if id != "" {
			b = append(append(append(b, "id: "...), id...), '\n')
		}
		b = append(append(append(b, "event: "...), name...), "\ndata: "...)
		return append(append(b, payload...), "\n\n"...)
	}
	op := byte(opText)
	if binaryFrame {
		op = opBinary
	}
	if !v.deflate || len(payload) < minDeflate {
		return appendWS(make([]byte, 0, len(payload)+10), op, payload)
	}
	var out bytes.Buffer
	out.Grow(len(payload) / 3)
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&out)
	if _, err := w.Write(payload); err != nil || w.Flush() != nil { // a buffer does not fail
		return appendWS(nil, op, payload)
	}
	return appendWS(make([]byte, 0, out.Len()+10), op|rsv1, bytes.TrimSuffix(out.Bytes(), tail))
}

// control is a frame that is JSON in every encoding.
func (v variant) control(name string, frame any) []byte {
	payload, err := json.Marshal(frame)
	if err != nil { // frames are structs of texts and numbers
		panic(err)
	}
	return v.message(payload, false, name, "")
}

// dataFrame is what goes into one data or snapshot frame.
type dataFrame struct {
	sub      string
	snapshot bool
	position string
	items    []*item
	skipped  []live.Skipped
}

// data writes items as one or more frames, of which the last has what was skipped. The items must be encoded.
func (v variant) data(f dataFrame) []byte {
	var out []byte
	for {
		n, size := 0, 0
		for n < len(f.items) && size < maxFrame {
			size += len(f.items[n].text(v.enc)) + 1
			n++
		}
		part := f
		part.items = f.items[:n]
		f.items = f.items[n:]
		if len(f.items) > 0 {
			part.skipped = nil
		}
		frame := v.one(part, size)
		if out == nil && len(f.items) == 0 {
			return frame
		}
		out = append(out, frame...)
		if len(f.items) == 0 {
			return out
		}
	}
}

func (v variant) one(f dataFrame, size int) []byte {
	name := live.FrameData
	if f.snapshot {
		name = live.FrameSnapshot
	}
	if v.enc == encProto {
		return v.message(protoPayload(f, size), true, name, "")
	}
	p := make([]byte, 0, size+len(f.sub)+128+100*len(f.skipped))
	p = append(append(append(p, `{"type":"`...), name...), `","sub":`...)
	p = append(append(p, quote(f.sub)...), `,"messages":[`...)
	for i, it := range f.items {
		if i > 0 {
			p = append(p, ',')
		}
		p = append(p, it.json...)
	}
	p = append(p, ']')
	if f.snapshot {
		p = append(append(append(p, `,"position":"`...), f.position...), '"')
	}
	if len(f.skipped) > 0 {
		text, err := json.Marshal(f.skipped)
		if err != nil {
			panic(err) // texts and numbers
		}
		p = append(append(p, `,"skipped":`...), text...)
	}
	id := ""
	if v.enc == encSSE {
		switch {
		case f.snapshot:
			id = f.position
		case len(f.items) > 0:
			id = f.items[len(f.items)-1].cursor().String()
		}
	}
	return v.message(append(p, '}'), false, name, id)
}

func protoPayload(f dataFrame, size int) []byte {
	p := make([]byte, 0, size+len(f.sub)+64+100*len(f.skipped))
	p = appendField(p, protoSub, f.sub)
	for _, it := range f.items {
		p = append(p, it.proto...)
	}
	for _, s := range f.skipped {
		var m []byte
		if s.Symbol != "" {
			m = appendField(m, 1<<3|2, s.Symbol)
		}
		m = binary.AppendUvarint(append(m, 2<<3), s.Count)
		m = appendField(appendField(m, 3<<3|2, s.From), 4<<3|2, s.To)
		p = appendField(p, protoSkipped, string(m))
	}
	if f.snapshot {
		p = appendField(append(p, protoSnapshot, 1), protoPosition, f.position)
	}
	return p
}

func appendField(b []byte, tag byte, v string) []byte {
	return append(binary.AppendUvarint(append(b, tag), uint64(len(v))), v...)
}

func quote(s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string
	}
	return text
}
