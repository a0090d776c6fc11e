package alpaca

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// freeLimit is how many symbols the free plan streams.
const freeLimit = 30

// subscriptions is what was asked for and what the venue acknowledged. One command is under way at a time; each answer lists the whole state.
// Where the venue has a limit of symbols it is found by halving: an over-full command is refused whole, and the old state stays.
type subscriptions struct {
	mu       sync.Mutex
	channels []string
	every    map[string]bool // ever asked for on this connection
	acked    []string        // in every channel
	refused  map[string]bool // asked for, answered, and still not there
	adding   []string        // of the command under way
	pending  bool
	limit    int // the least number of symbols that was too many; 0: none yet
	why      string
	ready    bool
}

func (s *subscriptions) init(channels []string) {
	s.channels, s.every, s.refused = channels, map[string]bool{}, map[string]bool{}
}

// asked reports whether the symbol was ever asked for on this connection: what an unsubscription crosses on its way is no fault.
func (s *subscriptions) asked(symbol string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.every[symbol]
}

// next is the command that brings the venue's state nearer to what is wanted; an empty action when it is as near as it gets.
func (s *subscriptions) next(wanted []string) (action string, symbols []string) {
	var drop, add []string
	for _, x := range s.acked {
		if !slices.Contains(wanted, x) {
			drop = append(drop, x)
		}
	}
	if len(drop) > 0 {
		return "unsubscribe", drop
	}
	for _, x := range wanted {
		if !s.refused[x] && !slices.Contains(s.acked, x) {
			add = append(add, x)
		}
	}
	n := len(add)
	if s.limit > 0 {
		room := s.limit - 1 - len(s.acked)
		if len(s.acked) == 0 && room >= freeLimit {
			n = freeLimit
		} else {
			n = min(n, (room+1)/2)
		}
	}
	if n <= 0 {
		return "", nil
	}
	return "subscribe", add[:n]
}

// subscribe sends the next command, or tells the engine what is streamed.
func (st *stream) subscribe(ctx context.Context) error {
	s := &st.subs
	s.mu.Lock()
	defer s.mu.Unlock()
	return st.step(ctx)
}

// changed is told that other symbols are wanted, from another goroutine than the reader's.
func (st *stream) changed(ctx context.Context) error {
	s := &st.subs
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready || s.pending {
		return nil // the answer that is under way goes on from there
	}
	clear(s.refused)
	return st.step(ctx)
}

func (st *stream) step(ctx context.Context) error {
	s := &st.subs
	action, symbols := s.next(st.e.Symbols())
	if action != "" {
		s.pending, s.adding = true, nil
		if action == "subscribe" {
			s.adding = symbols
			for _, x := range symbols {
				s.every[x] = true
			}
		}
		command := map[string]any{"action": action}
		for _, ch := range s.channels {
			command[ch] = symbols
		}
		return st.send(command)
	}
	if !s.ready && len(s.acked) == 0 {
		return feed.Refused(fmt.Errorf("subscribe to %s: %s", strings.Join(st.e.Symbols(), ", "), s.why))
	}
	acked := slices.Clone(s.acked)
	if s.ready {
		return st.e.Acknowledged(ctx, acked, s.why)
	}
	s.ready = true
	return st.e.Ready(ctx, st.fs, acked, s.why)
}

// subscribed takes the answer to a command, or a change that the venue made by itself: the whole state.
func (st *stream) subscribed(ctx context.Context, c *control) error {
	s := &st.subs
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = nil
	for _, x := range st.e.Symbols() {
		missing := ""
		for _, ch := range s.channels {
			if got := c.subscribed[ch]; !slices.Contains(got, x) && !slices.Contains(got, "*") {
				missing = ch
				break
			}
		}
		switch {
		case missing == "":
			s.acked = append(s.acked, x)
		case slices.Contains(s.adding, x):
			s.refused[x] = true
			s.why = "the venue left out its " + missing
		}
	}
	for _, x := range c.subscribed["trades"] {
		if s.every[x] && !slices.Contains(st.e.Symbols(), x) {
			s.acked = append(s.acked, x) // no longer wanted: the next command takes it out
		}
	}
	s.pending, s.adding = false, nil
	if st.login != streaming {
		// The lines of the ledger must be stored before anything newer than their holes is.
		if err := st.e.Feed().Flush(ctx); err != nil {
			return fmt.Errorf("store the ledger: %w", err)
		}
		st.login = streaming
	}
	return st.step(ctx)
}

// tooMany takes the venue's word that a command went over the plan's number of symbols: the state is as before it.
func (st *stream) tooMany(ctx context.Context, err error) error {
	s := &st.subs
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pending || len(s.adding) == 0 {
		return err
	}
	n := len(s.acked) + len(s.adding)
	s.why = fmt.Sprintf("%s: %d symbols are more than the plan streams; take some out of equities.symbols or change the plan", err, n)
	s.limit, s.pending, s.adding = n, false, nil
	return st.step(ctx)
}

// notTaken is for a command that the venue does not take as it is.
func (st *stream) notTaken(ctx context.Context, code uint64, err error) error {
	s := &st.subs
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.channels, "imbalances"); i >= 0 && s.pending && len(s.acked) == 0 {
		// Few feeds have them: the others are worth having without.
		st.e.Feed().Logger().Warn("the venue does not stream imbalances to us", "err", err)
		s.channels = slices.Delete(slices.Clone(s.channels), i, i+1)
		s.pending, s.adding = false, nil
		return st.step(ctx)
	}
	if s.ready && len(s.adding) > 0 { // symbols that were added while it runs: what is streamed goes on
		for _, x := range s.adding {
			s.refused[x] = true
		}
		s.why = err.Error()
		s.pending, s.adding = false, nil
		return st.step(ctx)
	}
	switch code {
	case 409, 411:
		return feed.Refused(fmt.Errorf("%w: the plan does not have %s; change equities.alpaca.stream_url (the free feed is /v2/iex) or the plan",
			err, strings.Join(s.channels, ", ")))
	}
	return feed.Refused(fmt.Errorf("%w: the venue does not take this subscription on %s", err, st.u.cfg.StreamURL))
}
