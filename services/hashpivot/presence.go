package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// presence is what a process tells of itself to who asks on the health subject, wherever it runs.
type presence struct {
	Service string    `json:"service"` // up, or that which runs alone
	Holder  string    `json:"holder"`  // host, pid namespace, pid
	Version string    `json:"version"`
	Mode    mode      `json:"mode"`
	Admin   string    `json:"admin"`
	Started time.Time `json:"started"`
	// Trouble is what keeps it from being ready, by check; empty: it is ready.
	Trouble map[string]string `json:"trouble,omitempty"`
	Figures []presenceFigure  `json:"figures"`
}

// presenceFigure is a metric as it stands.
type presenceFigure struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Value  float64           `json:"value"`
}

// The metrics that status shows.
const (
	figureClients       = "hashpivot_gateway_clients"
	figureSubscriptions = "hashpivot_gateway_subscriptions"
	figureDispatched    = "hashpivot_gateway_dispatched_total"
	figureDeliveries    = "hashpivot_gateway_deliveries_total"
	figureSentBytes     = "hashpivot_gateway_sent_bytes_total"
	figureSkipped       = "hashpivot_gateway_skipped_total"
	figureUnits         = "hashpivot_lander_units"
	figureRows          = "hashpivot_lander_rows_total"
	figureRefused       = "hashpivot_lander_refused"
	figureLastEvent     = "hashpivot_feed_last_event_timestamp_seconds"
	figureMemory        = "process_resident_memory_bytes"
)

var presenceFigures = []string{
	figureClients, figureSubscriptions, figureDispatched, figureDeliveries, figureSentBytes, figureSkipped, figureUnits, figureRows, figureRefused, figureLastEvent, figureMemory,
}

// present answers on the health subject until stop is called.
func (a *app) present(cfg *config, b *bus.Bus, admin string, reg prometheus.Gatherer, health *run.Health) (stop func(), _ error) {
	p := presence{Service: a.command, Holder: holder(), Version: version(), Mode: cfg.Mode, Admin: admin, Started: time.Now().UTC()}
	return b.AnswerHealth(func(ctx context.Context) ([]byte, error) {
		now := p
		ctx, cancel := context.WithTimeout(ctx, presenceWithin/2)
		defer cancel()
		now.Trouble = health.Ready(ctx).Wrong()
		families, err := reg.Gather()
		if err != nil {
			return nil, fmt.Errorf("gather metrics: %w", err)
		}
		for _, f := range families {
			if slices.Contains(presenceFigures, f.GetName()) {
				now.Figures = append(now.Figures, figuresOf(f)...)
			}
		}
		return json.Marshal(now)
	})
}

// presenceWithin is how long those are waited for that have answered before, presenceFirst everybody the first time, and presenceAtLeast who is new.
const (
	presenceWithin  = 2 * time.Second
	presenceFirst   = time.Second
	presenceAtLeast = 250 * time.Millisecond
)

func figuresOf(f *dto.MetricFamily) []presenceFigure {
	var out []presenceFigure
	for _, m := range f.GetMetric() {
		x := presenceFigure{Name: f.GetName()}
		switch {
		case m.GetGauge() != nil:
			x.Value = m.GetGauge().GetValue()
		case m.GetCounter() != nil:
			x.Value = m.GetCounter().GetValue()
		default:
			continue
		}
		for _, l := range m.GetLabel() {
			if x.Labels == nil {
				x.Labels = map[string]string{}
			}
			x.Labels[l.GetName()] = l.GetValue()
		}
		out = append(out, x)
	}
	return out
}

// presences asks all processes. known are those that have answered before, by id.
func presences(ctx context.Context, b *bus.Bus, known map[string]bool) ([]presence, error) {
	var out []presence
	most := presenceWithin
	if len(known) == 0 {
		most = presenceFirst
	}
	answers, err := b.AskHealth(ctx, presenceAtLeast, most, func(answers [][]byte) bool {
		seen := 0
		for _, data := range answers {
			var p presence
			if json.Unmarshal(data, &p) == nil && known[p.id()] {
				seen++
			}
		}
		return len(known) > 0 && seen == len(known)
	})
	for _, data := range answers {
		var p presence
		if json.Unmarshal(data, &p) == nil { // another version's
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b presence) int {
		if a.Service != b.Service {
			return compareServices(a.Service, b.Service)
		}
		return a.Started.Compare(b.Started)
	})
	return out, err
}

// id is a process's own: one that was started again is another.
func (p presence) id() string {
	return p.Service + " " + p.Holder + " " + p.Started.Format(time.RFC3339Nano)
}

func compareServices(a, b string) int {
	order := []string{"up", "equities", "hashprice", "gpurates", "signals", "lander", "gateway", "audit", "nightly"}
	return slices.Index(order, a) - slices.Index(order, b)
}

// sum adds up a figure of the process.
func (p presence) sum(name string) (total float64) {
	for _, f := range p.Figures {
		if f.Name == name {
			total += f.Value
		}
	}
	return total
}
