package wire

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/sim/control"
)

// Target takes the orders for one simulator. A simulator gets every generic fault by having a method
//
//	func (s *Server) Target() control.Target {
//		return &wire.Target{Hub: s.hub, HTTP: &s.faults, Clock: s.clock, Wrong: `{"type":7}`, Error: `{"error":"..."}`, Own: []wire.Own{...}}
//	}
//
// with what it has of them: a Hub (or Sockets, with a Line for each connection that it serves itself), Faults around its handlers, a Clock
// that it reads the time from (in New: s.clock = wire.NewClock(cfg.Now); cfg.Now = s.clock.Now), Faults.Paging asked where it makes a
// page's token. pkg/sim then registers it where it starts it: s.desk.Register("name", s.Name.Target(), urls...).
type Target struct {
	Hub     *Hub
	Sockets *Sockets // where there is no Hub
	HTTP    *Faults
	Clock   *Clock
	// Wrong is a message of the protocol's form with fields of wrong types; Error the answer that tells an error with status 200. Neither need
	// be given.
	Wrong, Error string
	// Pages says that Faults.Paging is asked.
	Pages bool
	// Own are the protocol's own faults.
	Own []Own
}

// Own is a fault of one protocol. Ordered as "name" or "name:argument".
type Own struct {
	Name, Does string
	// Order does it; Clear, if any, ends it.
	Order func(o control.Order) error
	Clear func()
}

// anyWrong has the usual field names with types that no protocol gives them.
const anyWrong = `[{"T":5,"S":[],"ev":{},"sym":1,"type":7,"channel":{},"event":[],"data":"x","events":"x","block":"x","blocks":7,"method":9,"result":[[]]}]`

func (t *Target) sockets() *Sockets {
	if t.Hub != nil {
		return &t.Hub.sockets
	}
	return t.Sockets
}

// Faults implements control.Target.
func (t *Target) Faults() []control.Fault {
	var out []control.Fault
	if t.sockets() != nil {
		out = append(out, socketFaults...)
	}
	if t.HTTP != nil {
		out = append(out, httpFaults...)
	}
	if t.Pages {
		out = append(out, pageFaults...)
	}
	if t.Clock != nil {
		out = append(out, control.Fault{Name: control.Skew, Does: "sets the clock off by by"})
	}
	for _, o := range t.Own {
		out = append(out, control.Fault{Name: o.Name, Does: o.Does})
	}
	return out
}

func (t *Target) names() []string {
	var out []string
	for _, f := range t.Faults() {
		out = append(out, f.Name)
	}
	return out
}

// Order implements control.Target.
func (t *Target) Order(o control.Order) error {
	if err := o.Check(); err != nil {
		return err
	}
	name, _, _ := strings.Cut(o.Fault, ":")
	if !slices.Contains(t.names(), name) {
		return control.Unknown("fault", o.Fault, t.names())
	}
	for _, own := range t.Own {
		if own.Name == name {
			if err := own.Order(o); err != nil {
				return fmt.Errorf("order %s: %w", o.Fault, err)
			}
			return nil
		}
	}
	if name != o.Fault {
		return control.Unknown("fault", o.Fault, t.names())
	}
	if o.Fault == control.Skew {
		if o.By == 0 {
			return errors.New(`order skew: by is missing, such as "by":"3h"`)
		}
		t.Clock.set(standing(o))
		return nil
	}
	if s := t.sockets(); s != nil {
		wrong := t.Wrong
		if wrong == "" {
			wrong = anyWrong
		}
		if ok, err := s.order(o, wrong); ok {
			return err
		}
	}
	body := t.Error
	if body == "" {
		body = `{"error":"internal error"}`
	}
	t.HTTP.order(o, body)
	return nil
}

// Clear implements control.Target.
func (t *Target) Clear(fault string) error {
	name, _, _ := strings.Cut(fault, ":")
	if fault != "" && !slices.Contains(t.names(), name) {
		return control.Unknown("fault", fault, t.names())
	}
	if s := t.sockets(); s != nil {
		s.clear(fault)
	}
	if t.HTTP != nil {
		t.HTTP.end(fault)
	}
	if t.Clock != nil && (fault == "" || fault == control.Skew) {
		t.Clock.set(nil)
	}
	for _, o := range t.Own {
		if (fault == "" || name == o.Name) && o.Clear != nil {
			o.Clear()
		}
	}
	return nil
}

// Seen implements control.Target.
func (t *Target) Seen() control.Seen {
	var out control.Seen
	if s := t.sockets(); s != nil {
		s.mu.Lock()
		out.Connects, out.Open = slices.Clone(s.connects.at), len(s.lines)
		s.mu.Unlock()
	}
	if t.HTTP != nil {
		t.HTTP.mu.Lock()
		out.Requests = slices.Clone(t.HTTP.seen.at)
		t.HTTP.mu.Unlock()
	}
	return out
}
