package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// Limits that a token sets. Zero leaves the gateway's; they lower the gateway's, never raise them.
type Limits struct {
	Connections   int     `json:"connections,omitempty"`
	Subscriptions int     `json:"subscriptions,omitempty"`
	MaxRate       float64 `json:"max_rate,omitempty"` // messages a second and symbol
}

// Grant is what somebody may do. It is read only.
type Grant struct {
	Subject   string
	Anonymous bool
	// Expires is when the grant ends; zero: never.
	Expires time.Time
	Limits  Limits
	scope   []rule
}

// Nobody is the grant of a connection that has yet to authenticate: it allows nothing.
func Nobody() *Grant { return &Grant{} }

// Authenticated reports whether the grant comes from a token.
func (g *Grant) Authenticated() bool { return g.Subject != "" && !g.Anonymous }

// Identity is what limits are counted by: the subject, so that a fresh token is no fresh allowance; empty without a token.
func (g *Grant) Identity() string {
	if !g.Authenticated() {
		return ""
	}
	return g.Subject
}

// Scope lists what is granted, as a token's claim does.
func (g *Grant) Scope() []string {
	out := make([]string, len(g.scope))
	for i, r := range g.scope {
		out[i] = r.String()
	}
	return out
}

// Allows is nil if each of the symbols, which may be patterns, is granted on the channel, and an *live.Error (forbidden) otherwise.
func (g *Grant) Allows(channel live.Channel, symbols []string) error {
	if len(g.scope) == 0 {
		return live.Errorf(live.CodeUnauthorised, "authenticate first: this connection has given no token")
	}
	if len(symbols) == 0 {
		return live.Errorf(live.CodeForbidden, "no symbol of channel %s was named", channel)
	}
	for _, s := range symbols {
		if !g.covers(channel, s) {
			return live.Errorf(live.CodeForbidden, "the token's scope does not cover %s:%.64s; it grants %s", channel, s, g.summary(channel))
		}
	}
	return nil
}

func (g *Grant) covers(channel live.Channel, symbol string) bool {
	return slices.ContainsFunc(g.scope, func(r rule) bool { return r.covers(channel, symbol) })
}

// summary of what is granted on the channel, bounded.
func (g *Grant) summary(channel live.Channel) string {
	var of []string
	for _, r := range g.scope {
		if r.channel == everything || r.channel == string(channel) {
			of = append(of, r.patterns...)
		}
	}
	if len(of) == 0 {
		return "nothing of this channel"
	}
	const most = 5
	if len(of) > most {
		of = append(slices.Clone(of[:most]), "...")
	}
	return strings.Join(of, ",")
}

// everything as a channel or a pattern.
const everything = "*"

// rule is one entry of a scope: patterns of a channel.
type rule struct {
	channel  string // a live.Channel or everything
	patterns []string
}

func (r rule) String() string { return r.channel + ":" + strings.Join(r.patterns, ",") }

func (r rule) covers(channel live.Channel, pattern string) bool {
	if r.channel != everything && r.channel != string(channel) {
		return false
	}
	return slices.ContainsFunc(r.patterns, func(p string) bool { return Covers(p, pattern) })
}

// Covers reports whether every text that the asked pattern matches is matched by the granted one. A star of the asked pattern, taken as a
// letter, is a letter that no granted pattern has, so only a star can match it; and what a star matches it may be replaced with. For the same
// reason patterns that cover each a part never cover the whole together, and each can be looked at by itself.
func Covers(granted, asked string) bool { return live.MatchPattern(granted, asked) }

// Bounds of a scope.
const (
	maxRules    = 100
	maxPatterns = live.MaxSymbols
)

// parseScope reads entries as trades:CORZ,IREN.
func parseScope(entries []string) ([]rule, error) {
	if len(entries) == 0 {
		return nil, errors.New("the scope is empty; *:* is everything")
	}
	if len(entries) > maxRules {
		return nil, fmt.Errorf("the scope has %d entries; at most %d are taken", len(entries), maxRules)
	}
	total := 0
	out := make([]rule, len(entries))
	for i, e := range entries {
		channel, list, ok := strings.Cut(e, ":")
		if !ok {
			return nil, fmt.Errorf("scope %.80q is not channel:symbols, as trades:CORZ,IREN is", e)
		}
		if channel != everything && !live.Channel(channel).Valid() {
			return nil, fmt.Errorf("scope %.80q names no channel", e)
		}
		r := rule{channel, strings.Split(list, ",")}
		if total += len(r.patterns); total > maxPatterns {
			return nil, fmt.Errorf("the scope has more than %d patterns", maxPatterns)
		}
		// What cannot be asked for cannot be granted.
		spec := live.Spec{Channel: live.Trades, Symbols: r.patterns}
		if err := spec.Normalize(); err != nil {
			return nil, fmt.Errorf("scope %.80q: %s", e, live.AsError(err).Message)
		}
		out[i] = r
	}
	return out, nil
}
