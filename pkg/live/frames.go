package live

import (
	"encoding/json"
	"time"
)

// The types of frames.
const (
	FrameWelcome   = "welcome"
	FrameAck       = "ack"
	FrameError     = "error"
	FrameSnapshot  = "snapshot"
	FrameData      = "data"
	FrameLive      = "live"
	FrameSlow      = "slow"
	FrameSkipped   = "skipped"
	FrameHeartbeat = "heartbeat"
	FrameReplay    = "replay"
	FrameShutdown  = "shutdown"
)

// FrameTypes lists them all.
func FrameTypes() []string {
	return []string{
		FrameWelcome, FrameAck, FrameError, FrameSnapshot, FrameData, FrameLive, FrameSlow, FrameSkipped, FrameHeartbeat, FrameReplay, FrameShutdown,
	}
}

// The operations of requests.
const (
	OpAuthenticate = "authenticate"
	OpSubscribe    = "subscribe"
	OpUnsubscribe  = "unsubscribe"
	OpResume       = "resume"
	OpReplay       = "replay"
	OpControl      = "control"
	OpPing         = "ping"
)

// Ops lists them all.
func Ops() []string {
	return []string{OpAuthenticate, OpSubscribe, OpUnsubscribe, OpResume, OpReplay, OpControl, OpPing}
}

// Version of the protocol.
const Version = "1"

// Welcome is the first frame.
type Welcome struct {
	Type          string    `json:"type"`
	Version       string    `json:"version"`
	Mode          string    `json:"mode"`
	Gateway       string    `json:"gateway"`
	Time          time.Time `json:"time"`
	HeartbeatS    float64   `json:"heartbeat_s"`
	Authenticated bool      `json:"authenticated"`
	Limits        Limits    `json:"limits"`
}

// Limits of the connection, as its grant and the gateway's configuration have them.
type Limits struct {
	Subscriptions     int     `json:"subscriptions"`
	Symbols           int     `json:"symbols"`
	RequestBytes      int     `json:"request_bytes"`
	RequestsPerSecond float64 `json:"requests_per_second"`
	// MaxRate caps max_rate; 0: no cap.
	MaxRate float64 `json:"max_rate,omitempty"`
}

// Subscription is the state of one subscription.
type Subscription struct {
	Sub string `json:"sub"`
	Spec
	// Epoch is when the stream was created, Unix ns as text since JavaScript's numbers are too short.
	Epoch string `json:"epoch"`
	// Start is the cursor behind which delivery began; empty for a replay.
	Start string `json:"start,omitempty"`
}

// Ack answers a request.
type Ack struct {
	Type string    `json:"type"`
	ID   string    `json:"id"`
	Op   string    `json:"op"`
	Sub  string    `json:"sub,omitempty"` // what the request made, changed or ended
	Time time.Time `json:"time"`
	// Subscriptions are all that the connection has now.
	Subscriptions []Subscription `json:"subscriptions"`
}

// ErrorFrame tells an error.
type ErrorFrame struct {
	Type string `json:"type"`
	ID   string `json:"id,omitempty"`
	Sub  string `json:"sub,omitempty"`
	Error
}

// DataJSON is a data or snapshot frame as a client reads it.
type DataJSON struct {
	Type     string            `json:"type"`
	Sub      string            `json:"sub"`
	Messages []json.RawMessage `json:"messages"`
	Skipped  []Skipped         `json:"skipped,omitempty"`
	Position string            `json:"position,omitempty"` // of a snapshot
}

// Live says that history has been caught up with.
type Live struct {
	Type     string `json:"type"`
	Sub      string `json:"sub"`
	Position string `json:"position"`
}

// Slow warns.
type Slow struct {
	Type         string `json:"type"`
	Sub          string `json:"sub"`
	PendingBytes int    `json:"pending_bytes"`
}

// Skipped says exactly what was left out: of one symbol, or of the whole subscription where Symbol is empty.
type Skipped struct {
	Symbol string `json:"symbol,omitempty"`
	Count  uint64 `json:"count"`
	From   string `json:"from"`
	To     string `json:"to"`
}

// SkippedFrame tells a slow client what it missed.
type SkippedFrame struct {
	Type    string    `json:"type"`
	Sub     string    `json:"sub"`
	Skipped []Skipped `json:"skipped"`
}

// Heartbeat tells up to where everything was sent.
type Heartbeat struct {
	Type      string            `json:"type"`
	Time      time.Time         `json:"time"`
	Positions map[string]string `json:"positions"`
	Resume    string            `json:"resume,omitempty"`
}

// Replay tells how a replay goes.
type Replay struct {
	Type  string     `json:"type"`
	Sub   string     `json:"sub"`
	State string     `json:"state"` // running, paused, ended
	Time  *time.Time `json:"time,omitempty"`
	Speed float64    `json:"speed"`
}

// Shutdown announces the gateway's end.
type Shutdown struct {
	Type   string    `json:"type"`
	Time   time.Time `json:"time"`
	Resume string    `json:"resume,omitempty"`
}
