package control

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
)

// Desk is the HTTP side of the orders:
//
//	GET    /simulators                       names, URLs, the faults that each understands
//	POST   /simulators/{name}/faults         {"fault":"mute","for":"30s"}
//	DELETE /simulators/{name}/faults         clears all, ?fault=mute one
//	GET    /simulators/{name}/seen           connections and requests so far
type Desk struct {
	mu   sync.Mutex
	sims map[string]Simulator
}

// Simulator is one that registered.
type Simulator struct {
	Name   string   `json:"name"`
	URLs   []string `json:"urls"`
	Faults []Fault  `json:"faults"`
	target Target
}

// Register adds a simulator. pkg/sim does it for each that it starts: a new one has a method Target (see pkg/sim/internal/wire.Target) and a line
// in pkg/sim.
func (d *Desk) Register(name string, t Target, urls ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sims == nil {
		d.sims = map[string]Simulator{}
	}
	d.sims[name] = Simulator{Name: name, URLs: urls, Faults: t.Faults(), target: t}
}

// Handler serves the desk. It belongs on loopback: who reaches it can break the simulators.
func (d *Desk) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /simulators", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, d.list()) })
	mux.HandleFunc("POST /simulators/{name}/faults", d.with(order))
	mux.HandleFunc("DELETE /simulators/{name}/faults", d.with(func(t Target, w http.ResponseWriter, r *http.Request) error {
		if err := t.Clear(r.FormValue("fault")); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}))
	mux.HandleFunc("GET /simulators/{name}/seen", d.with(func(t Target, w http.ResponseWriter, _ *http.Request) error {
		answer(w, http.StatusOK, t.Seen())
		return nil
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, errors.New(r.Method+" "+r.URL.Path+" is not here; there are GET /simulators, "+
			"POST and DELETE /simulators/{name}/faults, GET /simulators/{name}/seen"))
	})
	return mux
}

func (d *Desk) list() []Simulator {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]Simulator, 0, len(d.sims))
	for _, s := range d.sims {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Simulator) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

func (d *Desk) with(do func(Target, http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		s, ok := d.sims[r.PathValue("name")]
		var names []string
		for n := range d.sims {
			names = append(names, n)
		}
		d.mu.Unlock()
		if !ok {
			fail(w, http.StatusNotFound, Unknown("simulator", r.PathValue("name"), names))
			return
		}
		if err := do(s.target, w, r); err != nil {
			fail(w, http.StatusBadRequest, err)
		}
	}
}

func order(t Target, w http.ResponseWriter, r *http.Request) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	var o Order
	if err := dec.Decode(&o); err != nil {
		return errors.New("read the order: " + err.Error() + `; write {"fault":"mute","for":"30s"} or {"fault":"status","status":503,"times":3}`)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("read the order: one JSON object is expected")
	}
	if err := t.Order(o); err != nil {
		return err
	}
	answer(w, http.StatusAccepted, o)
	return nil
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller may be gone
}

func fail(w http.ResponseWriter, status int, err error) {
	answer(w, status, map[string]string{"error": err.Error()})
}
