package client

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// Client is a connection to a gateway that is made again whenever it is lost. Its methods may be called from any goroutine.
type Client struct {
	cfg    Config
	cancel context.CancelFunc
	done   chan struct{} // closed when the client has ended; err says why

	mu      sync.Mutex
	conn    *conn // nil while there is none
	subs    []*Subscription
	welcome live.Welcome
	ended   bool
	err     error
}

// Dial connects. An error of this first connection is returned; connections that are lost later are made again until Close, or until the gateway
// refuses for good, which Err and the subscriptions then tell.
func Dial(ctx context.Context, cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("dial gateway: %w", err)
	}
	c := &Client{cfg: cfg, done: make(chan struct{})}
	k, err := c.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial gateway: %w", err)
	}
	c.welcome = k.welcome
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	go c.run(runCtx, k)
	return c, nil
}

// Close ends the client and waits for it. Subscriptions end with ErrClosed, behind what waits in them.
func (c *Client) Close() {
	c.cancel()
	<-c.done
}

// Done is closed when the client has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is nil until Done is closed, then why.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Welcome is what the gateway said first: among others its mode, live, sim or recorded.
func (c *Client) Welcome() live.Welcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.welcome
}

func newBackoff(cfg *Config) *backoff.ExponentialBackOff {
	b := &backoff.ExponentialBackOff{InitialInterval: cfg.FirstWait, MaxInterval: cfg.MaxWait, RandomizationFactor: 0.5, Multiplier: 2}
	b.Reset()
	return b
}

// run lives through connections.
func (c *Client) run(ctx context.Context, k *conn) {
	defer close(c.done)
	waits := newBackoff(&c.cfg)
	for {
		since := time.Now()
		err := k.serve(ctx)
		lost := time.Now()
		// Who accepts and drops at once must not be able to reset the waits.
		if lost.Sub(since) >= c.cfg.StableAfter {
			waits.Reset()
		}
		c.mu.Lock()
		c.conn = nil
		c.mu.Unlock()
		cause := err
		for tries := 1; ; tries++ {
			if ctx.Err() != nil {
				err = ErrClosed
			}
			if ctx.Err() != nil || isFatal(err) {
				c.end(err)
				return
			}
			select {
			case <-ctx.Done():
				continue
			case <-time.After(waits.NextBackOff()):
			}
			if k, err = c.connect(ctx); err == nil {
				if c.cfg.OnReconnect != nil {
					c.cfg.OnReconnect(Reconnect{Cause: cause, Down: time.Since(lost), Tries: tries, Gateway: k.welcome.Gateway})
				}
				break
			}
		}
	}
}

func (c *Client) end(err error) {
	c.mu.Lock()
	c.ended, c.err = true, err
	subs := c.subs
	c.subs = nil
	c.mu.Unlock()
	for _, s := range subs {
		s.finish(err)
	}
}

// adopt makes k the connection and returns what has to be subscribed on it.
func (c *Client) adopt(k *conn) []*Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.welcome = k, k.welcome
	return slices.Clone(c.subs)
}

// add registers a subscription and has it subscribed, now or when there is a connection; it returns when the gateway has accepted it.
func (c *Client) add(ctx context.Context, s *Subscription) error {
	c.mu.Lock()
	if c.ended {
		defer c.mu.Unlock()
		return c.err
	}
	c.subs = append(c.subs, s)
	k := c.conn
	c.mu.Unlock()
	if k != nil {
		k.subscribe(s)
	}
	select {
	case <-s.accepted:
		return s.failure()
	case <-ctx.Done():
		s.finish(ctx.Err())
		c.remove(s)
		return ctx.Err()
	}
}

func (c *Client) remove(s *Subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subs = slices.DeleteFunc(c.subs, func(o *Subscription) bool { return o == s })
}

func (c *Client) current() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// wakeReaders lets the connection look again whether it must wait for room.
func (c *Client) wakeReaders() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.subs {
		signal(s.room)
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
