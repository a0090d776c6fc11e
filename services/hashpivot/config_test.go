package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestVendorKeys: each vendor's own variable switches its upstream on, and no key is ever printed.
func TestVendorKeys(t *testing.T) {
	env := []string{"APCA_API_KEY_ID=apca-id", "APCA_API_SECRET_KEY=apca-secret", "MASSIVE_API_KEY=massive-key", "FINNHUB_API_KEY=finnhub-key"}
	a := &app{ctx: t.Context(), cli: &cli{}, env: env}
	cfg, err := a.load(modeLive)
	if err != nil {
		t.Fatal(err)
	}
	e := cfg.Equities
	for want, got := range map[string]string{
		"apca-id": e.Alpaca.Key.Reveal(), "apca-secret": e.Alpaca.Secret.Reveal(), "massive-key": e.Massive.Key.Reveal(), "finnhub-key": e.Finnhub.Key.Reveal(),
	} {
		if got != want {
			t.Errorf("key %q, want %q", got, want)
		}
	}
	var out, errs bytes.Buffer
	if code := execute(t.Context(), []string{"config"}, env, &out, &errs); code != 0 {
		t.Fatalf("config: %d %s", code, errs.String())
	}
	for _, kv := range env {
		_, secret, _ := strings.Cut(kv, "=")
		if strings.Contains(out.String()+errs.String(), secret) {
			t.Errorf("%s is printed", secret)
		}
	}
}
