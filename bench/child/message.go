package child

import (
	"strconv"
	"time"
)

// Marker stands once in each message of the peers, before the receive stamp.
const Marker = `recv_time":`

// AppendMessage appends a trade as a peer's user would send it: JSON of 110 bytes.
func AppendMessage(b []byte, at time.Time, seq uint64) []byte {
	b = append(b, `{"symbol":"CORZ","price":"14.23","size":"100","`+Marker...)
	b = strconv.AppendInt(b, at.UnixNano(), 10)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, 10_000_000_000_000_000+seq, 10) // as wide at each length of the run
	return append(b, `,"c":"@"}`...)
}
