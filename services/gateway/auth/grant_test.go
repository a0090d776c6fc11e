package auth_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
)

func TestCovers(t *testing.T) {
	f := func(granted, asked string, want bool) {
		t.Helper()
		if got := auth.Covers(granted, asked); got != want {
			t.Errorf("%s covers %s: got %v", granted, asked, got)
		}
	}
	f("CORZ", "CORZ", true)
	f("CORZ", "CORZ2", false)
	f("CORZ", "corz", false)
	f("CORZ", "*", false)
	f("CORZ", "CORZ*", false)
	f("*", "CORZ", true)
	f("*", "*", true)
	f("*", "a*b*c", true)
	f("C*", "CORZ", true)
	f("C*", "C*", true)
	f("C*", "CO*", true)
	f("C*", "*", false)
	f("C*", "*C", false)
	f("h100*/on-demand", "h100-sxm/on-demand", true)
	f("h100*/on-demand", "h100*/on-demand", true)
	f("h100*/on-demand", "h100*/*", false)
	f("h100*/on-demand", "h100-*/on-demand", true)
	f("h100*/on-demand", "*/on-demand", false)
	f("*a*", "b*", false)
	f("*a*", "*ba*", true)
	f("*a*a*", "*a*", false)
	f("*a*", "a*a", true)
	f("a*a", "a", false)
}

// TestCoversIsInclusion holds Covers against its meaning: every text that the asked pattern matches is matched by the granted one.
func TestCoversIsInclusion(t *testing.T) {
	// Texts up to this length, of the patterns' letters and one that no pattern has, tell patterns this short apart.
	var texts []string
	last := []string{""}
	for range 6 {
		texts = append(texts, last...)
		var longer []string
		for _, s := range last {
			longer = append(longer, s+"a", s+"b", s+"z")
		}
		last = longer
	}
	pattern := rapid.StringOfN(rapid.SampledFrom([]rune("ab*")), 1, 5, -1).Filter(func(s string) bool { return !strings.Contains(s, "**") })
	rapid.Check(t, func(t *rapid.T) {
		granted, asked := pattern.Draw(t, "granted"), pattern.Draw(t, "asked")
		included := true
		for _, s := range texts {
			if live.MatchPattern(asked, s) && !live.MatchPattern(granted, s) {
				included = false
				break
			}
		}
		if got := auth.Covers(granted, asked); got != included {
			t.Fatalf("%s covers %s: got %v, want %v", granted, asked, got, included)
		}
	})
}

func TestAllows(t *testing.T) {
	v := verifier(t, withKey())
	_, g, err := v.Mint(auth.Order{Subject: "desk", Scope: []string{"trades:CORZ,I*", "bars:*", "rates:h100*/on-demand"}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(g.Scope(), " "); got != "trades:CORZ,I* bars:* rates:h100*/on-demand" {
		t.Errorf("scope: got %s", got)
	}
	yes := func(channel live.Channel, symbols ...string) {
		t.Helper()
		if err := g.Allows(channel, symbols); err != nil {
			t.Errorf("%s %v: %v", channel, symbols, err)
		}
	}
	no := func(g *auth.Grant, code, sentence string, channel live.Channel, symbols ...string) {
		t.Helper()
		err := g.Allows(channel, symbols)
		if err == nil || live.AsError(err).Code != code || !strings.Contains(err.Error(), sentence) {
			t.Errorf("%s %v: got %v, want %s: %s", channel, symbols, err, code, sentence)
		}
	}
	yes(live.Trades, "CORZ")
	yes(live.Trades, "CORZ", "IREN", "I*")
	yes(live.Bars, "*")
	yes(live.Rates, "h100-sxm/on-demand")
	no(g, live.CodeForbidden, "does not cover trades:WULF; it grants CORZ,I*", live.Trades, "CORZ", "WULF")
	no(g, live.CodeForbidden, "trades:*", live.Trades, "*")
	no(g, live.CodeForbidden, "quotes:CORZ; it grants nothing of this channel", live.Quotes, "CORZ")
	no(g, live.CodeForbidden, "h100-sxm/spot", live.Rates, "h100-sxm/spot")
	no(g, live.CodeForbidden, "no symbol", live.Trades)
	no(auth.Nobody(), live.CodeUnauthorised, "authenticate first", live.Trades, "CORZ")
	if auth.Nobody().Authenticated() || auth.Nobody().Identity() != "" {
		t.Error("nobody is somebody")
	}
}
