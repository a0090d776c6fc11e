package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/wire"
	"github.com/hashpivot/hashpivot/services/audit/dead"
)

type deadCmd struct {
	List    deadListCmd    `cmd:"" default:"withargs" help:"List dead letters and what became of them (default)."`
	Show    deadShowCmd    `cmd:"" help:"Show letters whole: why, from where, their bytes and what these read as."`
	Replay  deadReplayCmd  `cmd:"" help:"Publish letters again into their streams, once each, and wait until they have landed; exit 1 if one was refused or died again."`
	Discard deadDiscardCmd `cmd:"" help:"Mark letters as seen: they stay dead."`
}

// deadChoice says which letters.
type deadChoice struct {
	Stream string `help:"Of this stream; UPSTREAM for frames that an adapter refused." placeholder:"STREAM"`
	Reason string `help:"For this reason; * stands for any characters." placeholder:"REASON"`
	Source string `help:"Of this source; * stands for any characters." placeholder:"SOURCE"`
	First  uint64 `help:"From this sequence of --stream on." placeholder:"SEQ"`
	Last   uint64 `help:"Up to this sequence of --stream." placeholder:"SEQ"`
	Since  string `help:"Stored from then on: a date, a time, or a duration before now (72h)." placeholder:"TIME"`
}

func (c deadChoice) query() (store.LetterQuery, error) {
	q := store.LetterQuery{Of: c.Stream, Reason: c.Reason, Source: c.Source, First: c.First, Last: c.Last}
	if c.Stream != "" && c.Stream != market.Upstream && !slices.Contains(market.Streams(), market.Stream(c.Stream)) {
		return q, run.Usage(fmt.Errorf("--stream: there is no stream %.40q; the streams are %v, and %s for frames that an adapter refused", c.Stream, market.Streams(), market.Upstream))
	}
	if (c.First > 0 || c.Last > 0) && (c.Stream == "" || c.Stream == market.Upstream) {
		return q, run.Usage(errors.New("--first, --last: sequences are of a stream; name it by --stream (frames of upstreams have none)"))
	}
	if c.Last > 0 && c.First > c.Last {
		return q, run.Usage(fmt.Errorf("--first %d is behind --last %d", c.First, c.Last))
	}
	var err error
	if q.Since, err = run.ParseTime(c.Since, time.Now()); err != nil {
		return q, run.Usage(fmt.Errorf("--since: %w", err))
	}
	return q, nil
}

func (c deadChoice) empty() bool { return c == deadChoice{} }

func deadIDs(texts []string) ([]dead.ID, error) {
	out := make([]dead.ID, len(texts))
	for i, t := range texts {
		id, err := dead.ParseID(t)
		if err != nil {
			return nil, run.Usage(err)
		}
		out[i] = id
	}
	return out, nil
}

// attachDead connects, and says on stderr if letters have not landed yet.
func (a *app) attachDead() (dead.Deps, *backends, error) {
	b, _, err := a.attach()
	if err != nil {
		return dead.Deps{}, nil, err
	}
	if n, err := dead.Behind(a.ctx, b.bus); err == nil && n > 0 {
		_, _ = fmt.Fprintf(a.stderr, "hashpivot: %d messages of the stream DEAD may not have landed yet: their letters are not listed until the lander has landed them\n", n)
	}
	return dead.Deps{Bus: b.bus, Store: b.store, Logger: a.log, By: operator()}, b, nil
}

// operator is who acts, for the marks.
func operator() string {
	name := "unknown"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

type deadListCmd struct {
	deadChoice
	Fate  []string `help:"dead, replayed, discarded; several with commas. Without it all." placeholder:"FATE" enum:"dead,replayed,discarded"`
	Limit int      `help:"The newest so many." default:"200"`
}

type deadLine struct {
	Letter    string    `json:"letter"`
	Of        string    `json:"stream"`
	Seq       uint64    `json:"seq"`
	Idx       int32     `json:"idx"`
	Source    string    `json:"source"`
	Subject   string    `json:"subject"`
	Reason    string    `json:"reason"`
	Detail    string    `json:"detail"`
	Bytes     uint64    `json:"bytes"`
	Refused   time.Time `json:"refused"`
	Fate      string    `json:"fate"`
	By        string    `json:"by,omitempty"`
	Why       string    `json:"why,omitempty"`
	MarkedAt  time.Time `json:"marked_at,omitzero"`
	ReplaySeq uint64    `json:"replay_seq,omitempty"`
}

func lineOf(l store.Letter) deadLine {
	fate := l.Fate
	if fate == "" {
		fate = "dead"
	}
	return deadLine{
		Letter: dead.Name(l), Of: l.Of, Seq: l.Seq, Idx: l.Idx, Source: l.Source, Subject: l.Subject, Reason: string(l.Reason), Detail: l.Detail, Bytes: l.PayloadBytes,
		Refused: l.EventTime.UTC(), Fate: fate, By: l.Mark.By, Why: l.Mark.Why, MarkedAt: l.Mark.At, ReplaySeq: l.Mark.ReplaySeq,
	}
}

// Run lists letters in the order in which they were stored.
func (c *deadListCmd) Run(a *app) error {
	q, err := c.query()
	if err != nil {
		return err
	}
	if c.Limit < 1 {
		return run.Usage(fmt.Errorf("--limit %d: give at least 1", c.Limit))
	}
	q.Fates, q.Limit, q.Newest = c.Fate, c.Limit+1, true
	d, b, err := a.attachDead()
	if err != nil {
		return err
	}
	defer b.close()
	letters, err := dead.Select(a.ctx, d, q, nil)
	if err != nil {
		return err
	}
	more := len(letters) > c.Limit
	letters = letters[max(len(letters)-c.Limit, 0):]
	if a.cli.JSON {
		enc := json.NewEncoder(a.stdout)
		for _, l := range letters {
			if err := enc.Encode(lineOf(l)); err != nil {
				return err
			}
		}
	} else if len(letters) == 0 {
		a.printf("no dead letters\n")
	} else {
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(w, "letter\tstream\tseq:idx\tsource\treason\tbytes\trefused (UTC)\tfate\tdetail")
		for _, l := range letters {
			x := lineOf(l)
			_, _ = fmt.Fprintf(w, "%s\t%s\t%d:%d\t%s\t%s\t%d\t%s\t%s\t%.80s\n", x.Letter, x.Of, x.Seq, x.Idx, x.Source, x.Reason, x.Bytes, x.Refused.Format(time.DateTime), x.Fate, x.Detail)
		}
		_ = w.Flush()
	}
	if more {
		_, _ = fmt.Fprintf(a.stderr, "hashpivot: there are more than %d; raise --limit or choose by --stream, --reason, --source, --since\n", c.Limit)
	}
	return nil
}

type deadShowCmd struct {
	ID []string `arg:"" help:"Letters, as hashpivot dead list numbers them." placeholder:"LETTER"`
}

// Run shows letters with their bytes and, where this version can read them, what they say.
func (c *deadShowCmd) Run(a *app) error {
	ids, err := deadIDs(c.ID)
	if err != nil {
		return err
	}
	d, b, err := a.attachDead()
	if err != nil {
		return err
	}
	defer b.close()
	letters, err := dead.Select(a.ctx, d, store.LetterQuery{Payloads: true}, ids)
	if err != nil {
		return err
	}
	for _, l := range letters {
		reads, cannot := deadReads(a.ctx, d, l)
		if a.cli.JSON {
			line, err := json.Marshal(struct {
				deadLine
				Payload []byte   `json:"payload"` // base64
				Reads   []string `json:"reads,omitempty"`
				Cannot  string   `json:"cannot,omitempty"`
			}{lineOf(l), l.Payload, reads, cannot})
			if err != nil {
				return err
			}
			a.printf("%s\n", line)
			continue
		}
		x := lineOf(l)
		a.printf("letter   %s\nstream   %s %d:%d\nsubject  %s\nsource   %s\nrefused  %s\nreason   %s: %s\nfate     %s", x.Letter, x.Of, x.Seq, x.Idx, x.Subject, x.Source,
			x.Refused.Format(time.RFC3339Nano), x.Reason, x.Detail, x.Fate)
		if x.By != "" {
			a.printf(" by %s, %s", x.By, x.MarkedAt.Format(time.RFC3339))
		}
		if x.Why != "" {
			a.printf(": %s", x.Why)
		}
		if x.ReplaySeq > 0 {
			a.printf(", published again as %s %d", x.Of, x.ReplaySeq)
		}
		a.printf("\nbytes    %d, of which the letter keeps %d\n%q\n", x.Bytes, len(l.Payload), l.Payload)
		for _, r := range reads {
			a.printf("reads    %s\n", r)
		}
		if cannot != "" {
			a.printf("reads    not: %s\n", cannot)
		}
		a.printf("\n")
	}
	return nil
}

// deadReads is what the bytes of a letter say to this version.
func deadReads(ctx context.Context, d dead.Deps, l store.Letter) (reads []string, cannot string) {
	if l.Of == market.Upstream {
		return nil, ""
	}
	data, err := dead.Bytes(ctx, d, l)
	if err != nil {
		return nil, err.Error()
	}
	events, err := wire.Decode(market.Stream(l.Of), data)
	if err != nil {
		return nil, err.Error()
	}
	for _, ev := range events {
		text := fmt.Sprintf("%+v", ev)
		if err := ev.Validate(); err != nil {
			text += ": " + err.Error()
		}
		reads = append(reads, strings.TrimPrefix(text, "&"))
	}
	return reads, ""
}

// deadWhich are the letters that replay and discard act on.
type deadWhich struct {
	ID  []string `arg:"" optional:"" help:"Letters, as hashpivot dead list numbers them; or choose by the flags." placeholder:"LETTER"`
	All bool     `help:"All letters that nobody took in hand."`
	// Limit bounds the memory, and what one slip can do.
	Limit int `help:"At most so many, the oldest first; run it again for the rest." default:"10000"`
	deadChoice
}

// letters selects. By the flags only letters that nobody took in hand are chosen; a number means that letter whatever became of it.
func (c deadWhich) letters(a *app, d dead.Deps) ([]store.Letter, error) {
	q, err := c.query()
	if err != nil {
		return nil, err
	}
	ids, err := deadIDs(c.ID)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		q.Fates, q.Limit = []string{"dead"}, c.Limit+1
	}
	letters, err := dead.Select(a.ctx, d, q, ids)
	if len(ids) == 0 && len(letters) > c.Limit {
		letters = letters[:c.Limit]
		_, _ = fmt.Fprintf(a.stderr, "hashpivot: there are more than %d; run it again for the rest, or raise --limit\n", c.Limit)
	}
	return letters, err
}

func (c deadWhich) check() error {
	chosen := 0
	for _, b := range []bool{len(c.ID) > 0, c.All, !c.empty()} {
		if b {
			chosen++
		}
	}
	if chosen == 0 {
		return run.Usage(errors.New("say which letters: their numbers, or --stream, --reason, --source, --first, --last, --since, or --all"))
	}
	if c.Limit < 1 {
		return run.Usage(fmt.Errorf("--limit %d: give at least 1", c.Limit))
	}
	if len(c.ID) > 0 && chosen > 1 {
		return run.Usage(errors.New("letters are named either by their numbers or by the flags"))
	}
	if _, err := deadIDs(c.ID); err != nil {
		return err
	}
	_, err := c.query()
	return err
}

// errDeadLeft ends the program with code 1 after the outcomes have been printed.
var errDeadLeft = errors.New("not all letters could be replayed")

type deadReplayCmd struct {
	deadWhich
	Dry  bool          `name:"dry-run" help:"Say what would be published, and publish nothing."`
	Wait time.Duration `help:"Wait so long for what was published to land." default:"30s"`
}

// Run replays.
func (c *deadReplayCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	d, b, err := a.attachDead()
	if err != nil {
		return err
	}
	defer b.close()
	letters, err := c.letters(a, d)
	if err != nil {
		return err
	}
	outcomes := make([]dead.Outcome, 0, len(letters))
	// The bytes of some at a time: there may be many.
	for some := range slices.Chunk(letters, 64) {
		full, err := dead.Whole(a.ctx, d, some)
		if err != nil {
			return err
		}
		for _, l := range full {
			o, err := dead.Replay(a.ctx, d, l, c.Dry)
			if err != nil {
				// What was done before is told: it is done.
				return errors.Join(printOutcomes(a, outcomes), err)
			}
			outcomes = append(outcomes, o)
		}
	}
	ctx, cancel := context.WithTimeout(a.ctx, c.Wait)
	defer cancel()
	left := false
	for i := range outcomes {
		if err := dead.Await(ctx, d, &outcomes[i]); err != nil {
			return err
		}
		left = left || outcomes[i].Fate == "refused" || outcomes[i].DiedAgain > 0
	}
	if err := printOutcomes(a, outcomes); err != nil {
		return err
	}
	if left {
		return errDeadLeft
	}
	return nil
}

type deadDiscardCmd struct {
	deadWhich
	Why string `help:"Why, for the mark." placeholder:"TEXT"`
}

// Run marks letters as seen.
func (c *deadDiscardCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	d, b, err := a.attachDead()
	if err != nil {
		return err
	}
	defer b.close()
	letters, err := c.letters(a, d)
	if err != nil {
		return err
	}
	var outcomes []dead.Outcome
	for _, l := range letters {
		o, err := dead.Discard(a.ctx, d, l, c.Why)
		if err != nil {
			return err
		}
		outcomes = append(outcomes, o)
	}
	return printOutcomes(a, outcomes)
}

func printOutcomes(a *app, outcomes []dead.Outcome) error {
	if a.cli.JSON {
		enc := json.NewEncoder(a.stdout)
		for _, o := range outcomes {
			if err := enc.Encode(o); err != nil {
				return err
			}
		}
		return nil
	}
	if len(outcomes) == 0 {
		a.printf("no letters\n")
	}
	for _, o := range outcomes {
		a.printf("letter %s (%s %d:%d, %s): %s", o.Letter, o.Of, o.Seq, o.Idx, o.Reason, strings.ReplaceAll(o.Fate, "_", " "))
		if o.ReplaySeq > 0 {
			a.printf(" as %s %d", o.Of, o.ReplaySeq)
		}
		if o.Fate == "replayed" {
			a.printf(", %d of %d events landed", o.Landed, o.Events)
			if o.DiedAgain > 0 {
				a.printf(", %d died again", o.DiedAgain)
			}
		}
		if o.Why != "" {
			a.printf(": %s", o.Why)
		}
		a.printf("\n")
	}
	return nil
}
