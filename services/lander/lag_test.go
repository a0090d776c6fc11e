package lander_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/lander"
)

// TestLagIsTold: while ClickHouse does not take rows, how far landing is behind grows in messages, events and seconds, readiness ends when it is more than allowed, and the cause of the retries
// is named; when it takes them again, all that is over.
func TestLagIsTold(t *testing.T) {
	w := newWorld(t)
	reg, health := prometheus.NewRegistry(), &run.Health{}
	deps := w.deps()
	deps.Metrics, deps.Health = lander.NewMetrics(reg), health
	cfg := small()
	cfg.ReadyWithin = time.Second
	value := func(name string, labels ...string) float64 {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				var has []string
				for _, l := range m.GetLabel() {
					has = append(has, l.GetValue())
				}
				if f.GetName() == "hashpivot_"+name && strings.Join(has, " ") == strings.Join(labels, " ") {
					return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
		return -1
	}
	until := func(what string, yes func() bool) {
		t.Helper()
		late, tick := time.After(time.Minute), time.NewTicker(20*time.Millisecond)
		defer tick.Stop()
		for !yes() {
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("not within a minute: %s; %+v", what, health.Ready(t.Context()))
			}
		}
	}
	why := func(ok bool, words string) func() bool {
		return func() bool {
			r := health.Ready(t.Context())
			return r.OK == ok && strings.Contains(r.Checks[0].Why, words)
		}
	}
	w.publish(0, 100)
	l, r := w.startWith(cfg, deps)
	w.drained(l)
	until("all has landed", why(true, "all that is stored has landed"))
	until("no lag", func() bool {
		return value("lander_lag_messages", "TRADES") == 0 && value("lander_lag_seconds", "TRADES") == 0
	})

	w.exec("RENAME TABLE trades TO trades_away")
	w.publish(100, 700)
	info, err := w.bus.Info(t.Context(), "TRADES")
	if err != nil {
		t.Fatal(err)
	}
	behind := float64(info.LastSeq) - value("lander_landed_sequence", "TRADES")
	until("not ready", why(false, "the oldest message that waits is of TRADES"))
	until("lag", func() bool {
		return value("lander_lag_messages", "TRADES") == behind && value("lander_lag_seconds", "TRADES") > 1 && value("lander_lag_events", "TRADES") >= behind
	})
	if value("lander_retries_total", "schema", "insert", "TRADES") <= 0 {
		t.Error("the cause of the retries is not told")
	}
	if !health.Live().OK {
		t.Errorf("%+v: a server that does not take rows hangs nobody", health.Live())
	}
	if value("stream_last_sequence", "TRADES") != float64(info.LastSeq) || value("stream_max_bytes", "TRADES") != float64(info.MaxBytes) {
		t.Error("the stream is not told as it is")
	}

	w.exec("RENAME TABLE trades_away TO trades")
	w.drained(l)
	until("ready again", why(true, "all that is stored has landed"))
	until("no lag", func() bool {
		return value("lander_lag_messages", "TRADES") == 0 && value("lander_lag_seconds", "TRADES") == 0
	})
	if value("lander_latency_seconds", "TRADES") < 2 {
		t.Error("latencies were not observed")
	}
	w.audit(700, 700, 0)
	r.stop(t)
}
