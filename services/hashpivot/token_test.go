package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
)

func TestTokenIsTakenByTheGateway(t *testing.T) {
	const secret = "a secret of the tests, long enough"
	env := []string{"HASHPIVOT_GATEWAY__AUTH__KEYS__MAIN__ALGORITHM=HS256", "HASHPIVOT_GATEWAY__AUTH__KEYS__MAIN__SECRET=" + secret}
	var out, errs bytes.Buffer
	args := []string{"token", "--subject", "desk", "--scope", "trades:CORZ,IREN", "--scope", "bars:*", "--ttl", "12h", "--connections", "2"}
	if code := execute(t.Context(), args, env, &out, &errs); code != 0 {
		t.Fatalf("code %d: %s", code, errs.String())
	}
	c := auth.DefaultConfig()
	c.Keys = map[string]auth.Key{"main": {Algorithm: auth.HS256, Secret: run.Secret(secret)}}
	v, err := auth.New(c, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	g, err := v.Token(strings.TrimSpace(out.String()))
	if err != nil || g.Subject != "desk" || g.Limits.Connections != 2 || g.Allows(live.Trades, []string{"CORZ", "IREN"}) != nil ||
		g.Allows(live.Trades, []string{"*"}) == nil {
		t.Errorf("got %+v, %v", g, err)
	}

	f := func(env []string, want string, args ...string) {
		t.Helper()
		out.Reset()
		errs.Reset()
		code := execute(t.Context(), append([]string{"token", "--subject", "desk"}, args...), env, &out, &errs)
		if code != 2 || out.Len() != 0 || !strings.Contains(errs.String(), want) || strings.Contains(errs.String(), secret) {
			t.Errorf("%v: code %d, %s%s, want %s", args, code, &out, &errs, want)
		}
	}
	f(nil, "no key can sign", "--scope", "*:*")
	f(env, "is not channel:symbols", "--scope", "all")
	f(env, "gateway.auth.max_ttl", "--scope", "*:*", "--ttl", "48h")
	f(env[:1], "gateway.auth.keys.main: give one of file and secret", "--scope", "*:*")
}
