package main

import (
	"context"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/equities"
	"github.com/hashpivot/hashpivot/services/gpurates"
	"github.com/hashpivot/hashpivot/services/hashprice"
)

// service is a feed service, bound to its configuration.
type service struct {
	name string
	run  func(context.Context) error
}

func feedServices(cfg *config, deps feed.Deps) map[string]service {
	with := func(name string) feed.Deps {
		d := deps
		d.Logger = deps.Logger.With("service", name)
		return d
	}
	out := map[string]service{}
	add := func(name string, f func(context.Context) error) { out[name] = service{name, f} }
	add("equities", func(ctx context.Context) error { return equities.Run(ctx, cfg.Equities, with("equities")) })
	add("hashprice", func(ctx context.Context) error { return hashprice.Run(ctx, cfg.Hashprice, with("hashprice")) })
	add("gpurates", func(ctx context.Context) error { return gpurates.Run(ctx, cfg.GPURates, with("gpurates")) })
	return out
}

// feeds are the services that up runs: those whose upstream needs no key, and the equities where a key is set.
func (p *pipeline) feeds() []service {
	all := feedServices(p.cfg, p.deps)
	out := []service{all["hashprice"], all["gpurates"]}
	if p.cfg.equitiesOn() {
		return append(out, all["equities"])
	}
	p.app.log.Info("equities are off: no key; set APCA_API_KEY_ID and APCA_API_SECRET_KEY (or equities.alpaca.key and .secret), MASSIVE_API_KEY or FINNHUB_API_KEY to turn them on")
	return out
}

func (c *config) equitiesOn() bool { return c.Equities.On() }

// vendorKeys takes Alpaca's own environment variables where our keys are not set.
func (a *app) vendorKeys(cfg *config) {
	for _, v := range []struct {
		name string
		into *run.Secret
	}{{"APCA_API_KEY_ID", &cfg.Equities.Alpaca.Key}, {"APCA_API_SECRET_KEY", &cfg.Equities.Alpaca.Secret},
		{"MASSIVE_API_KEY", &cfg.Equities.Massive.Key}, {"FINNHUB_API_KEY", &cfg.Equities.Finnhub.Key}} {
		if *v.into == "" {
			*v.into = run.Secret(a.getenv(v.name))
		}
	}
}

func (a *app) getenv(name string) string {
	for _, kv := range a.env {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			return kv[len(name)+1:]
		}
	}
	return ""
}
