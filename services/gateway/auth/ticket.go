package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// Once lets each ticket be redeemed by one gateway of all.
type Once interface {
	// Claim is true for the first who claims the id, and need not remember it after until.
	Claim(ctx context.Context, id string, until time.Time) (first bool, err error)
}

// Ticket makes a one-time ticket of a grant: browsers cannot set headers on a websocket, and a token has no place in an address that
// proxies log.
func (v *Verifier) Ticket(_ context.Context, g *Grant) (string, time.Time, error) {
	if v.signer == nil {
		return "", time.Time{}, live.Errorf(live.CodeUnavailable, "this gateway has no key that can sign tickets; authenticate with the token instead")
	}
	now := v.now()
	if len(g.scope) == 0 {
		return "", time.Time{}, refuse(ReasonAbsent, "a ticket is made of a token: send it as Authorization: Bearer")
	}
	if !g.Expires.IsZero() && !now.Before(g.Expires) {
		return "", time.Time{}, refuse(ReasonExpired, "the token has expired; get a new one")
	}
	expires := now.Add(v.cfg.TicketTTL)
	if !g.Expires.IsZero() && g.Expires.Before(expires) {
		expires = g.Expires
	}
	c := claims{Scope: g.Scope(), Limits: g.Limits, Anonymous: g.Anonymous}
	c.Subject, c.ID = g.Subject, newID()
	c.IssuedAt, c.ExpiresAt = jwt.NewNumericDate(now), jwt.NewNumericDate(expires)
	if !g.Expires.IsZero() {
		c.Until = jwt.NewNumericDate(g.Expires)
	}
	ticket, err := v.sign(&c, typeTicket)
	return ticket, c.ExpiresAt.Time, err
}

// redeem reads a ticket, once.
func (v *Verifier) redeem(ctx context.Context, ticket string) (*Grant, error) {
	c, err := v.parse(ticket, typeTicket)
	if err != nil {
		return nil, err
	}
	if c.ID == "" || c.Until == nil && !c.Anonymous || c.Anonymous && v.anonymous == nil {
		return nil, refuse(ReasonClaims, "the ticket is incomplete or no longer of use; get a new one")
	}
	var until time.Time
	if c.Until != nil {
		until = c.Until.Time
	}
	g, err := c.grant(until, c.Anonymous)
	if err != nil {
		return nil, err
	}
	// As long as a clock within the leeway takes the ticket for fresh.
	first, err := v.once.Claim(ctx, c.ID, c.ExpiresAt.Add(2*v.cfg.Leeway))
	if err != nil {
		return nil, &refusal{ReasonStore, live.Errorf(live.CodeUnavailable, "tickets cannot be redeemed now; try again, or authenticate with the token")}
	}
	if !first {
		return nil, refuse(ReasonUsed, "the ticket was used before; each is good for one connection")
	}
	return g, nil
}

// chooseSigner finds the key that signs. Without any keys there are anonymous readers only, whose tickets a key of this process's own signs.
func (v *Verifier) chooseSigner() error {
	if v.cfg.SignWith != "" {
		v.signer = v.keys[v.cfg.SignWith]
		if v.signer.sign == nil {
			return fmt.Errorf("auth.sign_with: key %s is a public one, which cannot sign", v.signer.id)
		}
		return nil
	}
	if len(v.keys) == 0 {
		secret := make([]byte, minSecretBytes)
		_, _ = rand.Read(secret) // never fails
		v.signer = &key{"process", HS256, secret, secret}
		return nil
	}
	for _, k := range v.keys {
		if k.sign == nil {
			continue
		}
		if v.signer != nil {
			return errors.New("auth.sign_with: several keys can sign; name the one that shall")
		}
		v.signer = k
	}
	return nil
}

// newID is a random id with letters that a key in JetStream may have.
func newID() string { return rand.Text() }

// memoryMax bounds what is remembered: more tickets than that within their half minute are refused.
const memoryMax = 100_000

// Memory is a Once of one process.
type Memory struct {
	mu   sync.Mutex
	now  func() time.Time
	used map[string]time.Time // id: until
	next time.Time            // of the sweep
}

// NewMemory makes an empty one.
func NewMemory(now func() time.Time) *Memory { return &Memory{now: now, used: map[string]time.Time{}} }

// Claim implements Once.
func (m *Memory) Claim(_ context.Context, id string, until time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if now.After(m.next) {
		for id, t := range m.used {
			if now.After(t) {
				delete(m.used, id)
			}
		}
		m.next = now.Add(time.Second)
	}
	if _, ok := m.used[id]; ok {
		return false, nil
	}
	if len(m.used) >= memoryMax {
		return false, errors.New("too many tickets at once")
	}
	m.used[id] = until
	return true, nil
}
