package lander_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestModel: whatever is killed, paused, cut off, deleted or forgotten, in whatever order, no event is lost and none is doubled, after each step
// and when all has come to rest.
func TestModel(t *testing.T) {
	checks(t, 6000, "0")
	rapid.Check(t, func(t *rapid.T) { play(t, wholeLaw(), everything) })
}

// TestModelHasTeeth: the same checker finds each part of the law missing. Where one of them were not found, TestModel would show nothing.
func TestModelHasTeeth(t *testing.T) {
	for name, c := range map[string]struct {
		without func(*law)
		finds   string
		within  hazards
	}{
		"record without compare-and-swap": {func(l *law) { l.fence = false }, "doubled", everything},
		"range cut anew after a crash":    {func(l *law) { l.replay = false }, "doubled", crashes},
		"acknowledged before the insert":  {func(l *law) { l.intent = false }, "lost", crashes},
		"token of the try":                {func(l *law) { l.token = func(_ entry, try int) string { return fmt.Sprint(try) } }, "doubled", crashes},
		"token without the range":         {func(l *law) { l.token = func(entry, int) string { return "TRADES" } }, "lost", nothing},
		"token of the range's end only":   {func(l *law) { l.token = func(r entry, _ int) string { return fmt.Sprint(r.last / 2) } }, "lost", nothing},
		"what stands told by its number":  {func(l *law) { l.identity = false }, "", hazards{crashes: true, deletes: true}},
		"number, after a power cut":       {func(l *law) { l.identity = false }, "doubled", hazards{crashes: true, powerCuts: true}},
		"retry without a look":            {func(l *law) { l.doubt = false }, "doubled", hazards{crashes: true, powerCuts: true}},
		"answer behind a failed try":      {func(l *law) { l.proof = false }, "lost", hazards{crashes: true, halves: true}},
		"insert without a lease":          {func(l *law) { l.lease = false }, "doubled", crashes},
		"decoded by another version":      {func(l *law) { l.oldDecode = false }, "", crashes},
	} {
		t.Run(name, func(t *testing.T) {
			l := wholeLaw()
			c.without(&l)
			checks(t, 20_000, "1")
			rec := &recorder{name: t.Name()}
			rec.run(func() { rapid.Check(rec, func(t *rapid.T) { play(t, l, c.within) }) })
			if !rec.failed {
				t.Fatalf("no counterexample was found: %s", rec.text())
			}
			found := rec.text()
			if !strings.Contains(found, "lost: ") && !strings.Contains(found, "doubled: ") || !strings.Contains(found, c.finds) {
				t.Errorf("found something else than %q: %s", c.finds, found)
			}
			if testing.Verbose() {
				t.Log(found)
			}
		})
	}
}

// checks sets how hard rapid looks, for this test. What breaks a broken law is looked for under one seed, so that it is found always or never.
func checks(t *testing.T, n int, seed string) {
	steps := 100
	if testing.Short() { // rapid makes a fifth of the checks then, of half the steps
		n, steps = 5*n, 2*steps
	}
	for name, value := range map[string]string{"rapid.checks": fmt.Sprint(n), "rapid.steps": fmt.Sprint(steps), "rapid.seed": seed, "rapid.nofailfile": "true", "rapid.shrinktime": "200ms"} {
		old := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set(name, old) })
	}
}

// hazards are what may happen to the landers beside delays and lost answers.
type hazards struct{ crashes, deletes, powerCuts, halves bool }

var (
	everything = hazards{crashes: true, deletes: true, powerCuts: true, halves: true}
	crashes    = hazards{crashes: true}
	nothing    = hazards{}
)

// play runs a random history on three landers, then lets all come to rest.
func play(t *rapid.T, l law, h hazards) {
	m := newModel(l, 3)
	which := rapid.IntRange(0, len(m.landers)-1)
	of := []fate{answered, answered, answered, answered, answerLost, held, refused}
	if h.halves {
		of = append(of, halfDone)
	}
	fates := rapid.SampledFrom(of)
	step := func(t *rapid.T) {
		ml := m.landers[which.Draw(t, "lander")]
		if !ml.up {
			t.Skip("it is down")
		}
		ml.step(fates.Draw(t, "fate"))
	}
	actions := map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			if c := m.complaint(false); c != "" {
				t.Fatal(c)
			}
		},
		"publish": func(t *rapid.T) {
			if len(m.stream) == 24 {
				t.Skip("enough")
			}
			ev := rapid.Custom(func(t *rapid.T) modelEvent {
				kind := rapid.IntRange(0, 7).Draw(t, "kind")
				return modelEvent{partition: kind % 2, dead: kind == 6, shifts: kind == 7}
			})
			m.stream = append(m.stream, modelMsg{events: rapid.SliceOfN(ev, 1, 3).Draw(t, "events")})
		},
		"fetch": func(t *rapid.T) {
			if !m.landers[which.Draw(t, "lander")].fetch() {
				t.Skip("nothing to fetch")
			}
		},
		// The more often an action stands here, the likelier it is.
		"step": step, "step once": step, "step again": step,
		"work": func(t *rapid.T) { // a lander that nothing happens to, for a while
			ml := m.landers[which.Draw(t, "lander")]
			if !ml.up {
				t.Skip("it is down")
			}
			for range rapid.IntRange(1, 16).Draw(t, "steps") {
				if ml.up {
					ml.fetch()
					ml.step(answered)
				}
			}
		},
		"start": func(t *rapid.T) {
			ml := m.landers[which.Draw(t, "lander")]
			if ml.up {
				t.Skip("it is up")
			}
			ml.start()
		},
		"arrive": func(t *rapid.T) { // what was held is carried out, its sender long gone or not
			if len(m.flying) == 0 {
				t.Skip("nothing is under way")
			}
			m.arrive(rapid.IntRange(0, len(m.flying)-1).Draw(t, "request"))
		},
	}
	if h.crashes {
		actions["crash"] = func(t *rapid.T) {
			ml := m.landers[which.Draw(t, "lander")]
			if !ml.up {
				t.Skip("it is down")
			}
			ml.crash()
		}
	}
	if h.deletes {
		actions["delete"] = func(t *rapid.T) {
			if len(m.stream) == 0 {
				t.Skip("nothing to delete")
			}
			m.delete(rapid.IntRange(1, len(m.stream)).Draw(t, "seq"))
		}
	}
	if h.powerCuts {
		actions["power cut"] = func(t *rapid.T) { m.powerCut(rapid.IntRange(0, window).Draw(t, "forgotten")) }
	}
	t.Repeat(actions)
	m.rest(t)
}

func (m *model) arrive(i int) {
	r := m.flying[i]
	m.flying = append(m.flying[:i:i], m.flying[i+1:]...)
	m.carryOut(r)
}

// rest: a new lander lands everything, then what is still under way arrives and those that were paused wake up.
func (m *model) rest(t *rapid.T) {
	for i := len(m.flying) - 1; i >= 0; i-- {
		if rapid.Bool().Draw(t, "arrives before") {
			m.arrive(i)
		}
	}
	m.landers[0].start()
	m.drain(t, m.landers[0])
	if c := m.complaint(true); c != "" {
		t.Fatal(c)
	}
	for len(m.flying) > 0 {
		m.arrive(0)
	}
	for _, ml := range m.landers {
		m.drain(t, ml)
	}
	if c := m.complaint(true); c != "" {
		t.Fatal(c)
	}
}

// drain gives a lander its steps until it has nothing to do or is fenced off.
func (m *model) drain(t *rapid.T, ml *modelLander) {
	for range 1000 {
		for ml.fetch() {
		}
		if !ml.up || ml.at == offerRange && len(ml.open) == 0 {
			return
		}
		ml.step(answered)
	}
	t.Fatal("stuck: the lander never comes to rest")
}

// recorder takes rapid's verdict in place of a test.
type recorder struct {
	name   string
	failed bool
	lines  []string
}

type recorderStop struct{}

func (r *recorder) run(f func()) {
	defer func() {
		if e := recover(); e != nil {
			if _, ok := e.(recorderStop); !ok {
				panic(e)
			}
		}
	}()
	f()
}

func (r *recorder) text() string { return strings.Join(r.lines, "\n") }

func (r *recorder) Helper()      {}
func (r *recorder) Name() string { return r.name }
func (r *recorder) Logf(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}
func (r *recorder) Log(args ...any)                   { r.lines = append(r.lines, fmt.Sprint(args...)) }
func (r *recorder) Skipf(string, ...any)              { panic(recorderStop{}) }
func (r *recorder) Skip(...any)                       { panic(recorderStop{}) }
func (r *recorder) SkipNow()                          { panic(recorderStop{}) }
func (r *recorder) Errorf(format string, args ...any) { r.Logf(format, args...); r.Fail() }
func (r *recorder) Error(args ...any)                 { r.Log(args...); r.Fail() }
func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); r.FailNow() }
func (r *recorder) Fatal(args ...any)                 { r.Error(args...); r.FailNow() }
func (r *recorder) FailNow()                          { r.failed = true; panic(recorderStop{}) }
func (r *recorder) Fail()                             { r.failed = true }
func (r *recorder) Failed() bool                      { return r.failed }
