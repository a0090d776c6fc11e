package load

import (
	"bytes"
	"strconv"
	"time"
)

// Protocol is how a server wants to be spoken to over its websocket.
type Protocol struct {
	Path        string // of the request, with its query
	Subprotocol string // none if empty
	Binary      bool   // frames of the client
	Hello       string // sent first; none if empty
	// Subscribe is what subscribes to the channel; Ack stands once in the answer to it and to a Hello.
	Subscribe func(channel string, id int) string
	Ack       string
	// Marker stands once in each message, before the receive stamp.
	Marker string
	// Apart is how many bytes lie between two markers at least. They are not looked at: that would cost a client more than to receive them, and make it the
	// slowest part of what is measured.
	Apart int
	Stamp func(after []byte) (time.Time, bool)
	// Answer is what a payload that asks for a sign of life wants to hear; nil if it does not ask.
	Answer func(payload []byte) []byte
}

// StampNanos reads a receive stamp that is a number of nanoseconds since 1970.
func StampNanos(after []byte) (time.Time, bool) {
	n, digits := int64(0), 0
	for _, c := range after {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
		digits++
	}
	return time.Unix(0, n), digits == 19
}

// Centrifuge is its JSON protocol.
func Centrifuge(marker string) Protocol {
	ping, pong := []byte("{}"), []byte("{}")
	return Protocol{
		Path: "/connection/websocket", Hello: `{"id":1,"connect":{}}`, Ack: `"id":`,
		Subscribe: func(channel string, id int) string {
			return `{"id":` + strconv.Itoa(id+2) + `,"subscribe":{"channel":"` + channel + `"}}`
		},
		Marker: marker, Apart: 80, Stamp: StampNanos,
		Answer: func(p []byte) []byte {
			if len(p) <= 3 && bytes.Equal(bytes.TrimSpace(p), ping) {
				return pong
			}
			return nil
		},
	}
}

// NATS is its text protocol. Each subscription is followed by a PING, whose PONG is the acknowledgement.
func NATS(marker string) Protocol {
	ping, pong := []byte("PING\r\n"), []byte("PONG\r\n")
	return Protocol{
		Path: "/", Binary: true, Ack: "PONG",
		Hello: `CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1","protocol":1}` + "\r\nPING\r\n",
		Subscribe: func(channel string, id int) string {
			return "SUB " + channel + " " + strconv.Itoa(id+1) + "\r\nPING\r\n"
		},
		Marker: marker, Apart: 80, Stamp: StampNanos,
		Answer: func(p []byte) []byte {
			if len(p) < 4096 && bytes.Contains(p, ping) {
				return pong
			}
			return nil
		},
	}
}

// Gateway is our own, docs/live.md.
func Gateway(path string) Protocol {
	return Protocol{
		Path: path, Subprotocol: "hashpivot.v1.json", Ack: `"type":"ack"`,
		Subscribe: func(symbol string, id int) string {
			return `{"op":"subscribe","id":"` + strconv.Itoa(id) + `","channel":"trades","symbols":["` + symbol + `"]}`
		},
		Marker: `"recv_time":"`, Apart: 200, Stamp: StampText,
		Answer: func([]byte) []byte { return nil },
	}
}

// StampText reads a receive stamp in the one form that RFC 3339 has for UTC.
func StampText(after []byte) (time.Time, bool) {
	end := bytes.IndexByte(after[:min(len(after), len(time.RFC3339Nano)+1)], '"')
	if end < 0 || end < len("2006-01-02T15:04:05Z") || after[end-1] != 'Z' {
		return time.Time{}, false
	}
	number := func(from, to int) int {
		n := 0
		for _, c := range after[from:to] {
			n = n*10 + int(c-'0')
		}
		return n
	}
	nanos := 0
	if end > 20 {
		nanos = number(20, end-1)
		for range 30 - end {
			nanos *= 10
		}
	}
	return time.Date(number(0, 4), time.Month(number(5, 7)), number(8, 10), number(11, 13), number(14, 16), number(17, 19), nanos, time.UTC), true
}
