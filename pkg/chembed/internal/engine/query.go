package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/access"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// Query is a statement with who wants it run and how.
type Query struct {
	ID        string // the client's; one is made where it is empty
	Account   *access.Account
	Remote    string // the client's address, host:port
	Agent     string // its name
	HTTP      bool
	Statement sqltext.Statement
	SQL       string // the statement's text as it came, for those who look at what runs
	Settings  []Setting
	Database  string // to be used from here on; empty: the session's
}

// Run is a statement that has been let in. Its owner ends it.
type Run struct {
	Query
	s     *Session
	start time.Time
	stats Stats

	slotMu sync.Mutex
	held   bool // a place among the running ones
	ended  bool
}

// registry knows what runs, by the tag of its session.
type registry struct {
	mu   sync.Mutex
	runs map[string]*Run
	ids  map[string]struct{}
}

func (r *registry) add(run *Run) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.ids[run.ID]; ok {
		return NewError(216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", "Query with id = %s is already running", run.ID)
	}
	if r.runs == nil {
		r.runs, r.ids = map[string]*Run{}, map[string]struct{}{}
	}
	r.runs[run.s.tag], r.ids[run.ID] = run, struct{}{}
	return nil
}

func (r *registry) remove(run *Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.runs, run.s.tag)
	delete(r.ids, run.ID)
}

// running is a copy of what runs.
func (r *registry) running() map[string]*Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]*Run, len(r.runs))
	for tag, run := range r.runs {
		out[tag] = run
	}
	return out
}

// NewQueryID makes an id where the client gave none.
func NewQueryID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Begin lets a statement in: quotas, a place among the running ones, settings, what the account may do. The Statement of the run is the one to execute.
// Whoever gets a Run must End it.
func (s *Session) Begin(ctx context.Context, q Query) (_ *Run, err error) {
	if q.ID == "" {
		q.ID = NewQueryID()
	}
	run := &Run{Query: q, s: s, start: time.Now()}
	if err := q.Account.Admit(q.Statement.Kind == sqltext.KindInsert); err != nil {
		s.DropExternal()
		return nil, err
	}
	defer func() {
		if err != nil {
			s.DropExternal()
			q.Account.Spend(access.Use{Failed: true})
		}
	}()
	if err := s.eng.acquire(ctx); err != nil {
		return nil, err
	}
	run.held = true
	defer func() {
		if err != nil {
			run.release()
		}
	}()
	if err := s.eng.reg.add(run); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.eng.reg.remove(run)
		}
	}()
	if err := s.begin(run); err != nil {
		return nil, s.eng.advise(q.Statement, err)
	}
	s.run = run
	return run, nil
}

func (s *Session) begin(run *Run) error {
	a := run.Account
	if namesTag(run.Statement) {
		return errTagSetting()
	}
	if run.Database != "" {
		if err := s.UseAs(a, run.Database); err != nil {
			return err
		}
	}
	settings, err := s.eng.settingsOf(a, run.Settings)
	if err != nil {
		return err
	}
	if err := s.Prepare(settings); err != nil {
		return err
	}
	if err := s.guard(run); err != nil {
		return err
	}
	return s.processes(run)
}

// End lets the statement out again; err is what became of it.
func (r *Run) End(err error) {
	r.s.run = nil
	r.s.DropExternal()
	r.s.eng.reg.remove(r)
	r.release()
	r.slotMu.Lock()
	r.ended = true
	r.slotMu.Unlock()
	r.Account.Spend(access.Use{
		ReadRows: r.stats.ReadRows, ResultRows: r.stats.ResultRows, WrittenBytes: r.stats.WrittenBytes, Elapsed: time.Since(r.start), Failed: err != nil,
	})
}

func (r *Run) release() {
	r.slotMu.Lock()
	defer r.slotMu.Unlock()
	if r.held {
		r.held = false
		r.s.eng.release()
	}
}

// slowClient is how long a client may take to take a piece of output before its query gives its place to another one.
const slowClient = 100 * time.Millisecond

// Unhurried runs what waits for the client, such as writing to its socket. While it takes long, the statement's place is another one's: a slow reader
// does not keep others from the engine. It returns with the place taken again.
func (r *Run) Unhurried(ctx context.Context, wait func() error) error {
	r.slotMu.Lock()
	ended := r.ended
	r.slotMu.Unlock()
	if ended { // an error on its way to the client
		return wait()
	}
	gave := make(chan struct{})
	timer := time.AfterFunc(slowClient, func() {
		r.release()
		close(gave)
	})
	err := wait()
	if timer.Stop() {
		return err
	}
	<-gave
	if err != nil {
		return err
	}
	if err := r.s.eng.await(ctx); err != nil {
		return err
	}
	r.slotMu.Lock()
	defer r.slotMu.Unlock()
	r.held = true
	return nil
}
