package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// Config says how to reach the gateway. Zero values mean the defaults in the comments.
type Config struct {
	// URL of the gateway: ws://127.0.0.1:8080/v1/ws. http and https are understood, and so is a missing path.
	URL string
	// Token is sent with each connection; TokenFunc is asked for one at each connection and so can give a new one when it has expired.
	Token     run.Secret
	TokenFunc func(context.Context) (run.Secret, error)

	// NetDial makes the connection beneath; nil: TCP, through the proxy of the environment if it names one.
	NetDial    func(ctx context.Context, network, addr string) (net.Conn, error)
	DialWithin time.Duration // connecting, welcome and authentication; 10 s
	FirstWait  time.Duration // before the second try to connect again; doubles, with jitter; 250 ms
	MaxWait    time.Duration // 30 s
	// StableAfter is how long a connection must live before the waits begin at FirstWait again; 10 s.
	StableAfter time.Duration
	MuteAfter   time.Duration // silence for which a gateway is given up; 2.5 heartbeats
	ReadLimit   int64         // bytes of one frame; 16 MiB
	// Buffer is how many messages of a subscription wait for their reader. When it is full the socket is not read, for all subscriptions, and
	// the gateway conflates what comes (see OnSkipped). 4096.
	Buffer int

	// OnReconnect is called when a lost connection has been made again. It must not block.
	OnReconnect func(Reconnect)
	// OnSkipped, OnGap, OnLive and OnSnapshot are called by the loop over Messages, between the messages where they belong. OnLive says that history has been
	// caught up with.
	// OnSnapshot says that messages of a snapshot follow, and that what they do not tell has ended.
	OnSkipped  func(*Subscription, []live.Skipped)
	OnLive     func(*Subscription, live.Cursor)
	OnSnapshot func(*Subscription)
	// OnGap tells of a hole that cannot be closed. Without it such a hole ends the subscription with an error, so that nobody overlooks it.
	OnGap func(*Subscription, Gap)
}

// Reconnect tells of an outage that is over.
type Reconnect struct {
	Cause   error // what ended the connection before
	Down    time.Duration
	Tries   int
	Gateway string // that we are connected to now
}

// Gap is a hole between what was handed out before and what comes next.
type Gap struct {
	From  live.Cursor // had everything up to here
	To    live.Cursor // goes on behind here; of another epoch it is a place of another stream. Zero where a snapshot follows.
	Cause *live.Error // purged, other_epoch or bad_cursor
}

// withDefaults fills in the zero values and checks the rest.
func (c Config) withDefaults() (Config, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return c, errors.New("URL of the gateway is none") // the parser's error repeats it, with a password that may be in it
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return c, fmt.Errorf("URL of the gateway is %q; it must look like ws://127.0.0.1:8080/v1/ws", u.Redacted())
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/ws"
	}
	c.URL = u.String()
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.DialWithin, 10*time.Second)
	def(&c.FirstWait, 250*time.Millisecond)
	def(&c.MaxWait, 30*time.Second)
	def(&c.StableAfter, 10*time.Second)
	if c.ReadLimit <= 0 {
		c.ReadLimit = 16 << 20
	}
	if c.Buffer <= 0 {
		c.Buffer = 4096
	}
	return c, nil
}

// token is what to authenticate with now; empty: nothing.
func (c *Config) token(ctx context.Context) (run.Secret, error) {
	if c.TokenFunc == nil {
		return c.Token, nil
	}
	t, err := c.TokenFunc(ctx)
	if err != nil {
		return "", fmt.Errorf("get token: %w", err)
	}
	return t, nil
}
