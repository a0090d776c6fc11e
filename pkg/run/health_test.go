package run_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
)

func stands(ok bool, why string) func(context.Context) run.Standing {
	return func(context.Context) run.Standing { return run.Standing{OK: ok, Why: why} }
}

// words are the results of a report by name.
func words(r run.Report) map[string]string {
	out := map[string]string{}
	for _, c := range r.Checks {
		out[c.Name] = string(c.Status)
	}
	return out
}

func TestReadiness(t *testing.T) {
	f := func(want run.Status, each map[string]string, checks ...run.Check) {
		t.Helper()
		h := &run.Health{}
		for _, c := range checks {
			h.Add(c)
		}
		r := h.Ready(t.Context())
		if r.Status != want || r.OK != (want != run.StatusFailed) {
			t.Errorf("status %s, ok %v; want %s: %+v", r.Status, r.OK, want, r.Checks)
		}
		got := words(r)
		for name, word := range each {
			if got[name] != word {
				t.Errorf("%s is %s, want %s", name, got[name], word)
			}
		}
	}
	f(run.StatusOK, nil)
	f(run.StatusOK, map[string]string{"a": "ok"}, run.Check{Name: "a", Stand: stands(true, "")})
	f(run.StatusFailed, map[string]string{"a": "ok", "b": "failed"}, run.Check{Name: "a", Stand: stands(true, "")}, run.Check{Name: "b", Stand: stands(false, "gone")})
	// Of a group one is enough.
	f(run.StatusDegraded, map[string]string{"a": "ok", "b": "degraded"},
		run.Check{Name: "a", Group: "price", Stand: stands(true, "")}, run.Check{Name: "b", Group: "price", Stand: stands(false, "gone")})
	f(run.StatusFailed, map[string]string{"a": "failed", "b": "failed", "c": "ok"},
		run.Check{Name: "a", Group: "price", Stand: stands(false, "gone")}, run.Check{Name: "b", Group: "price", Stand: stands(false, "gone")}, run.Check{Name: "c", Group: "blocks", Stand: stands(true, "")})
	// What is aside decides nothing, and stands for nobody.
	f(run.StatusDegraded, map[string]string{"a": "degraded"}, run.Check{Name: "a", Aside: true, Stand: stands(false, "gone")})
	f(run.StatusFailed, map[string]string{"a": "ok", "b": "failed"},
		run.Check{Name: "a", Group: "price", Aside: true, Stand: stands(true, "")}, run.Check{Name: "b", Group: "price", Stand: stands(false, "gone")})
}

// TestChecksThatHang: who asks has an answer all the same, which names the check; a second one who asks does not start a second look.
func TestChecksThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &run.Health{}
		var looks atomic.Int32
		h.Add(run.Check{Name: "stuck", Stand: func(ctx context.Context) run.Standing {
			looks.Add(1)
			<-ctx.Done() // as long as it may
			<-time.After(time.Hour)
			return run.Standing{OK: true}
		}})
		h.Check("well", func(context.Context) error { return nil })
		h.Check("ill", func(context.Context) error { return errors.New("ClickHouse is away") })
		start := time.Now()
		for range 3 {
			r := h.Ready(t.Context())
			if got := words(r); got["stuck"] != "failed" || got["well"] != "ok" || got["ill"] != "failed" || r.OK {
				t.Errorf("%+v", r)
			}
		}
		if took := time.Since(start); took > 20*time.Second || looks.Load() != 1 {
			t.Errorf("three answers took %s and %d looks", took, looks.Load())
		}
		time.Sleep(2 * time.Hour) // the look comes back
	})
}

func TestPulses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &run.Health{}
		p := h.Pulse("loop", time.Minute)
		live := func(want bool, word string) {
			t.Helper()
			r := h.Live()
			if r.OK != want || !strings.Contains(r.Checks[0].Why, word) {
				t.Errorf("%+v, want %v with %q", r, want, word)
			}
			if ready := h.Ready(t.Context()); ready.OK != want {
				t.Errorf("ready %v and live %v", ready.OK, want)
			}
		}
		live(true, "turned 0s ago")
		time.Sleep(59 * time.Second)
		live(true, "turned 59s ago")
		time.Sleep(2 * time.Second)
		live(false, "has not turned for 1m1s; allowed are 1m0s")
		p.Beat()
		live(true, "turned 0s ago")
		p.Rest() // it waits for a server that is away
		time.Sleep(24 * time.Hour)
		live(true, "waits")
		p.Beat()
		time.Sleep(time.Hour)
		live(false, "has not turned for 1h0m0s")
		p.End()
		if r := h.Live(); !r.OK || len(r.Checks) != 0 {
			t.Errorf("%+v after the loop has ended", r)
		}
	})
}

// TestScopes: what a service added goes with it, and a health that nobody has takes everything.
func TestScopes(t *testing.T) {
	h := &run.Health{}
	h.Add(run.Check{Name: "mine", Stand: stands(true, "")})
	s := h.Scope()
	s.Add(run.Check{Name: "theirs", Stand: stands(false, "gone")})
	s.Scope().Pulse("loop", -1)
	s.Pulse("other loop", -1)
	if r := h.Ready(t.Context()); r.OK || len(r.Checks) != 4 {
		t.Errorf("%+v", r)
	}
	s.Close()
	if r := h.Ready(t.Context()); r.OK || len(r.Checks) != 2 { // the loop of the scope within
		t.Errorf("%+v", r)
	}
	var none *run.Health
	none.Add(run.Check{Name: "x"})
	none.Check("x", nil)
	p := none.Scope().Pulse("x", time.Second)
	p.Beat()
	p.Rest()
	p.End()
	none.Close()
}

func TestProfilesStayOnThisMachine(t *testing.T) {
	f := func(addr string, ok bool) {
		t.Helper()
		err := run.AdminConfig{Addr: "127.0.0.1:0", PprofAddr: addr}.Validate()
		if ok != (err == nil) || !ok && !strings.Contains(err.Error(), "admin.pprof_addr") {
			t.Errorf("%q: %v", addr, err)
		}
	}
	f("", true)
	f("127.0.0.1:6060", true)
	f("127.8.9.10:6060", true)
	f("[::1]:6060", true)
	f("0.0.0.0:6060", false)
	f("[::]:6060", false)
	f(":6060", false)
	f("localhost:6060", false) // a name means what somebody else says
	f("10.0.0.1:6060", false)
	f("192.168.1.1:6060", false)
	f("[fe80::1%lo]:6060", false)
	f("[::ffff:10.0.0.1]:6060", false)
	f("127.0.0.1", false)
	f("127.0.0.1:6060@evil", true) // the port is net.Listen's to refuse
}

func TestTraceConfig(t *testing.T) {
	f := func(c run.TraceConfig, want string) {
		t.Helper()
		err := c.Validate()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("the password stands in %v", err)
		}
	}
	f(run.DefaultTraceConfig(), "")
	f(run.TraceConfig{Endpoint: "http://127.0.0.1:4318", Ratio: 1}, "")
	f(run.TraceConfig{Endpoint: "https://collector.example/v1/traces"}, "")
	f(run.TraceConfig{Ratio: 1.1}, "trace.ratio")
	f(run.TraceConfig{Ratio: -0.1}, "trace.ratio")
	f(run.TraceConfig{Endpoint: "127.0.0.1:4318"}, "trace.endpoint")
	f(run.TraceConfig{Endpoint: "grpc://x:4317"}, "trace.endpoint")
	f(run.TraceConfig{Endpoint: "http://user:sesame@127.0.0.1:4318"}, "trace.endpoint")
	f(run.TraceConfig{Endpoint: "http://user:sesame@%zz"}, "trace.endpoint")
	tr, err := run.StartTracing(t.Context(), run.DefaultTraceConfig(), "x", "v1", nil)
	if tr != nil || err != nil || tr.Tracer() != nil || tr.Flush(t.Context()) != nil {
		t.Errorf("%v, %v: nothing is traced by default", tr, err)
	}
	tr.Close()
}
