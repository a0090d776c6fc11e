package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const rosterPrefix = "roster."

// Roster is the list of the processes that share some work, each with a lease on its own place in it, which it renews every quarter of the TTL. As with Lease
// no clock is compared with another machine's: a member counts itself out two thirds of a TTL after it began its last renewal that succeeded, the others
// count it out a whole TTL after they last saw its entry change. So whoever cannot renew stops a third of a TTL before anyone takes its work.
type Roster struct {
	b     *Bus
	group string
	self  Member
	ttl   time.Duration
	dead  func(holder string) bool

	mu   sync.Mutex
	sent time.Time // before the last renewal that succeeded; zero: never, or given up

	watch jetstream.KeyWatcher
	seen  map[string]sighting
}

type sighting struct {
	rev   uint64
	at    time.Time
	entry rosterEntry
}

type rosterEntry struct {
	Holder string `json:"holder"`
	Note   string `json:"note"`
	TTL    string `json:"ttl"`
}

// Member is one in the list; Note is what it says of itself.
type Member struct{ ID, Holder, Note string }

// Roster names a group; holder says who we are, for people, and note what the others must know of us. ttl 0 means DefaultLeaseTTL. dead, if any, recognises a holder that is certainly gone, such as a
// process of this machine that has ended.
func (b *Bus) Roster(group, holder, note string, ttl time.Duration, dead func(holder string) bool) *Roster {
	if ttl <= 0 {
		ttl = DefaultLeaseTTL
	}
	return &Roster{b: b, group: group, self: Member{nuid.Next(), holder, note}, ttl: ttl, dead: dead, seen: map[string]sighting{}}
}

// ID is our name in the list.
func (r *Roster) ID() string { return r.self.ID }

// TTL of an entry.
func (r *Roster) TTL() time.Duration { return r.ttl }

func (r *Roster) key(id string) string { return rosterPrefix + r.group + "." + id }

// Valid reports whether we are in the list, as far as we know without asking.
func (r *Roster) Valid() bool {
	r.mu.Lock()
	sent := r.sent
	r.mu.Unlock()
	if sent.IsZero() {
		return false
	}
	now := time.Now()
	// The monotonic clock stands still while a machine sleeps; whichever has run further counts.
	return max(now.Sub(sent), now.Round(0).Sub(sent.Round(0))) < r.ttl*2/3
}

// Renew enters us or renews our entry.
func (r *Roster) Renew(ctx context.Context) error {
	kv, err := r.b.bucket(ctx)
	if err != nil {
		return err
	}
	data, err := json.Marshal(rosterEntry{r.self.Holder, r.self.Note, r.ttl.String()})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.ttl/4)
	defer cancel()
	sent := time.Now()
	if _, err := kv.Put(ctx, r.key(r.self.ID), data); err != nil {
		return fmt.Errorf("renew our entry among the %ss: %w", r.group, err)
	}
	r.mu.Lock()
	r.sent = sent
	r.mu.Unlock()
	return nil
}

// Leave takes our entry out, so that the others need not wait. It must not be called beside Members.
func (r *Roster) Leave(ctx context.Context) error {
	r.mu.Lock()
	r.sent = time.Time{}
	r.mu.Unlock()
	r.unwatch()
	if err := r.purge(ctx, r.self.ID); err != nil {
		return fmt.Errorf("leave the %ss: %w", r.group, err)
	}
	return nil
}

func (r *Roster) purge(ctx context.Context, id string) error {
	kv, err := r.b.bucket(ctx)
	if err != nil {
		return err
	}
	return kv.Purge(ctx, r.key(id))
}

// Members lists who is there, ourselves among them while we are valid, in one order for all. It must be asked often, several times a TTL: who is gone is seen by
// an entry that no longer changes. It is not safe for concurrent use.
func (r *Roster) Members(ctx context.Context) ([]Member, error) {
	ctx, cancel := context.WithTimeout(ctx, r.ttl)
	defer cancel()
	if err := r.follow(ctx); err != nil {
		return nil, fmt.Errorf("list the %ss: %w", r.group, err)
	}
	var out []Member
	if r.Valid() {
		out = append(out, r.self)
	}
	for id, s := range r.seen {
		switch age := time.Since(s.at); {
		case id == r.self.ID:
		case age >= 20*r.ttl:
			delete(r.seen, id)
			_ = r.purge(ctx, id) // long gone; whoever sees it clears it away
		case age < r.ttl && (r.dead == nil || !r.dead(s.entry.Holder)):
			out = append(out, Member{id, s.entry.Holder, s.entry.Note})
		}
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// follow takes in what has changed since the last call.
func (r *Roster) follow(ctx context.Context) error {
	if r.watch != nil && time.Since(r.seen[r.self.ID].at) >= r.ttl/2 && r.Valid() {
		// Our own renewals do not come: what the others do would not either.
		r.unwatch()
	}
	if r.watch == nil {
		kv, err := r.b.bucket(ctx)
		if err != nil {
			return err
		}
		if r.watch, err = kv.Watch(context.WithoutCancel(ctx), r.key("*")); err != nil {
			return err
		}
		found := map[string]bool{r.self.ID: true}
		for {
			select {
			case e, ok := <-r.watch.Updates():
				if !ok {
					r.unwatch()
					return errors.New("the watch has ended")
				}
				if e != nil {
					found[r.saw(e)] = true
					continue
				}
			case <-ctx.Done():
				r.unwatch()
				return ctx.Err()
			}
			break // nil: all that was there has come
		}
		for id := range r.seen {
			if !found[id] {
				delete(r.seen, id)
			}
		}
		r.seen[r.self.ID] = sighting{at: time.Now()}
	}
	for {
		select {
		case e, ok := <-r.watch.Updates():
			if !ok {
				r.unwatch()
				return errors.New("the watch has ended")
			}
			if e != nil {
				r.saw(e)
			}
		default:
			return nil
		}
	}
}

// saw notes an entry and names whose it is.
func (r *Roster) saw(e jetstream.KeyValueEntry) (id string) {
	id = strings.TrimPrefix(e.Key(), r.key(""))
	switch s := r.seen[id]; {
	case e.Operation() != jetstream.KeyValuePut:
		delete(r.seen, id)
	case s.rev != e.Revision():
		var entry rosterEntry
		_ = json.Unmarshal(e.Value(), &entry) // one that cannot be read is a member whose holder is not known
		r.seen[id] = sighting{e.Revision(), time.Now(), entry}
	}
	return id
}

func (r *Roster) unwatch() {
	if r.watch != nil {
		_ = r.watch.Stop() // it has ended, or the connection has
		r.watch = nil
	}
}
