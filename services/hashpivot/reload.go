package main

import (
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/gateway"
)

// reloadable is a part of the configuration that can be changed while the process runs.
type reloadable struct {
	name string
	// keys of the part, each with all below it.
	keys []string
	// always applies it also where no key has changed: files that it names may have.
	always bool
	// apply puts it in force, whole or not at all.
	apply func(ctx context.Context, cfg *config) error
}

func (r reloadable) has(key string) bool {
	return slices.ContainsFunc(r.keys, func(k string) bool { return key == k || strings.HasPrefix(key, k+".") })
}

// reloader reads the configuration again when its file changes and on SIGHUP, applies what can be, and names the rest.
type reloader struct {
	a     *app
	load  func() (*config, error)
	parts []reloadable
	// concerns are the parts of the configuration that this process uses; none: all.
	concerns []string
	now      map[string]any // what is in force
}

// watched runs something beside a watch of the configuration file. load reads the configuration as it was read at the start.
func (a *app) watched(load func() (*config, error), run func() error, parts ...reloadable) error {
	r := &reloader{a: a, load: load, parts: append([]reloadable{a.logLevel()}, parts...), concerns: concernsOf(a.command)}
	if err := r.begin(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(a.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.watch(ctx) })
	defer wg.Wait()
	defer stop()
	return run()
}

func (r *reloader) begin() error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	r.now, err = run.Flat(*cfg)
	return err
}

func (r *reloader) watch(ctx context.Context) {
	if err := run.Watch(ctx, r.a.cli.Config, func() { r.reload(ctx) }); err != nil {
		r.a.log.Warn("changes of the configuration are not seen", "err", err)
	}
}

// reload reads the configuration again. What is wrong with it leaves what is in force.
func (r *reloader) reload(ctx context.Context) {
	cfg, err := r.load()
	var next map[string]any
	if err == nil {
		next, err = run.Flat(*cfg)
	}
	if err != nil {
		r.a.log.Error("the changed configuration is refused; what was configured before goes on", "err", err)
		return
	}
	var applied []string
	waiting := r.changed(next)
	for _, p := range r.parts {
		var mine []string
		mine, waiting = partition(waiting, p.has)
		if len(mine) == 0 && !p.always {
			continue
		}
		if err := p.apply(ctx, cfg); err != nil {
			r.a.log.Error("a part of the changed configuration is refused; what was configured before goes on", "part", p.name, "err", err)
			continue
		}
		for _, key := range mine {
			r.now[key] = next[key]
			if _, ok := next[key]; !ok {
				delete(r.now, key)
			}
		}
		applied = append(applied, mine...)
	}
	r.a.log.Info("configuration read again", "applied", strings.Join(applied, ", "))
	if len(waiting) > 0 {
		r.a.log.Warn("these changes count after a restart", "keys", strings.Join(waiting, ", "))
	}
}

// changed are the keys that differ from what is in force and concern us, in order.
func (r *reloader) changed(next map[string]any) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(union(r.now, next))) {
		if reflect.DeepEqual(r.now[key], next[key]) {
			continue
		}
		part, _, _ := strings.Cut(key, ".")
		if len(r.concerns) == 0 || slices.Contains(r.concerns, part) {
			out = append(out, key)
		}
	}
	return out
}

func union(a, b map[string]any) map[string]any {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func partition(keys []string, mine func(string) bool) (in, out []string) {
	for _, k := range keys {
		if mine(k) {
			in = append(in, k)
		} else {
			out = append(out, k)
		}
	}
	return in, out
}

// concernsOf are the parts of the configuration that a service alone uses.
func concernsOf(service string) []string {
	if service == "" || service == "up" {
		return nil
	}
	own := map[string]string{"hashprice": "hashprice", "gpurates": "gpurates", "nightly serve": "nightly", "audit": "audit"}
	out := []string{"mode", "data_dir", "log", "admin", "nats", "clickhouse", "lease", cmp.Or(own[service], service)}
	if service == "gateway" {
		out = append(out, "signals", "nightly") // the bars that are made, and the pages that are served
	}
	return out
}

func (a *app) logLevel() reloadable {
	return reloadable{name: "log level", keys: []string{"log.level"}, apply: func(_ context.Context, cfg *config) error { return cfg.Log.SetLevel(a.level) }}
}

// symbols of the equities.
func (p *publishers) symbols() reloadable {
	return reloadable{
		name: "symbols", keys: []string{"equities.symbols", "equities.alpaca.symbols", "equities.massive.symbols", "equities.finnhub.symbols"},
		apply: func(ctx context.Context, cfg *config) error { return p.equities.apply(ctx, cfg.Equities) },
	}
}

// access to a gateway, and its limits.
func access(g *gateway.Gateway) reloadable {
	return reloadable{
		name: "access and limits of the gateway", keys: []string{"gateway.limits", "gateway.auth"}, always: true,
		apply: func(_ context.Context, cfg *config) error { return g.Reconfigure(cfg.Gateway.Limits, cfg.Gateway.Auth) },
	}
}
