package files

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Progress of an import, and what became of it. The numbers are of all files so far.
type Progress struct {
	File string // that is read
	// Files that were read, and those of them that an earlier import has brought in whole, which are not read again.
	Files, Skipped int
	Rows           int
	Published      int // new rows
	Known          int // published before
	Revised        int // of Published: bars that had other values before
	Replaced       int // bars that a later row of the same file told again
	Rejected       int
}

const (
	// reasonImport begins the reason of a file's line in the ledger.
	reasonImport = "import "
	// progressEvery so many rows.
	progressEvery = 10_000
	// rejectsKept a minute and reason; more are counted only.
	rejectsKept = 1000
)

// Import reads a file, or the files of a directory, and publishes what of it was never published. A file that was imported whole before is
// skipped by its content; an import that was interrupted goes on where it is run again, and publishes nothing twice. progress may be nil.
func Import(ctx context.Context, deps feed.Deps, path string, opt Options, progress func(Progress)) (Progress, error) {
	if err := opt.Validate(); err != nil {
		return Progress{}, fmt.Errorf("import %s: %w", path, err)
	}
	list, err := filesOf(path)
	if err != nil {
		return Progress{}, fmt.Errorf("import %s: %w", path, err)
	}
	im, err := newImporter(ctx, deps, opt)
	if err != nil {
		return Progress{}, fmt.Errorf("import %s: %w", path, err)
	}
	im.tell = progress
	for _, name := range list {
		if err := im.file(ctx, name); err != nil {
			return im.p, fmt.Errorf("import %s: %w", name, err)
		}
	}
	return im.p, nil
}

// badFile is the error of a file that cannot be read as it is: trying again does not help.
type badFile struct{ err error }

func (e *badFile) Error() string { return e.err.Error() }
func (e *badFile) Unwrap() error { return e.err }

// filesOf a path: itself, or what of a directory has a known format, by name.
func filesOf(path string) (list []string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if format, _ := formatOf(e.Name()); format != "" && e.Type().IsRegular() {
			list = append(list, filepath.Join(path, e.Name()))
		}
	}
	return list, nil
}

// importer brings files of one source in.
type importer struct {
	deps  feed.Deps
	opt   Options
	f     *feed.Feed
	clock clock
	lines map[string]market.FeedGap // of the ledger, by "import <name> <hash>"
	p     Progress
	tell  func(Progress)
}

func newImporter(ctx context.Context, deps feed.Deps, opt Options) (*importer, error) {
	cfg := deps.Config(opt.Source)
	cfg.RejectKeepPerMinute = rejectsKept
	f, err := feed.New(cfg)
	if err != nil {
		return nil, err
	}
	im := &importer{deps: deps, opt: opt, f: f, lines: map[string]market.FeedGap{}}
	if im.clock, err = newClock(opt); err != nil {
		return nil, err
	}
	if err := f.Restore(ctx, time.Time{}); err != nil { // the ledger alone
		return nil, err
	}
	return im, f.RestoreEach(ctx, time.Time{}, market.Feeds, func(ev market.Event) {
		g, ok := ev.(*market.FeedGap)
		if !ok || !strings.HasPrefix(g.Reason, reasonImport) {
			return
		}
		key, _, _ := strings.Cut(g.Reason, ";")
		if old, known := im.lines[key]; !known || old.GapID != g.GapID || g.Rev > old.Rev {
			im.lines[key] = *g
		}
	})
}

func (im *importer) progress() {
	if im.tell != nil {
		im.tell(im.p)
	}
}

// version of a file as it lies there.
type version struct {
	size int64
	at   time.Time
}

func versionOf(path string) (version, error) {
	info, err := os.Stat(path)
	if err != nil {
		return version{}, err
	}
	return version{info.Size(), info.ModTime()}, nil
}

// hash of a file's content and of the options that it is read by.
func (im *importer) hash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := xxh3.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	o := im.opt
	o.Source = ""
	_, _ = fmt.Fprintf(h, "|%+v", o) // a hash never fails
	sum := h.Sum128().Bytes()
	return hex.EncodeToString(sum[:]), nil
}

// name of a file in the ledger and in dead letters.
func nameOf(path string) string {
	name := filepath.Base(path)
	return strings.Map(func(r rune) rune {
		if r == ';' || r < ' ' {
			return '_'
		}
		return r
	}, name[:min(len(name), 200)])
}

// file brings one file in.
func (im *importer) file(ctx context.Context, path string) error {
	im.p.File = path
	before, err := versionOf(path)
	if err != nil {
		return err
	}
	sum, err := im.hash(path)
	if err != nil {
		return fmt.Errorf("read the file: %w", err)
	}
	key := reasonImport + nameOf(path) + " " + sum
	line, known := im.lines[key]
	im.p.Files++
	if known && line.State != market.GapOpen {
		im.p.Skipped++
		im.progress()
		return nil
	}
	// Once to know what is in it, and that it can be read to its end; once to publish.
	scan := im.reader(path, before.at)
	if err := scan.read(ctx, func(market.Event, row) error { return nil }, nil); errors.Is(err, errNoData) {
		im.f.Logger().Warn("file without data", "file", nameOf(path))
		return nil
	} else if err != nil {
		return &badFile{err}
	}
	if scan.from.IsZero() {
		scan.from, scan.to = before.at.UTC(), before.at.UTC()
	}
	if !known {
		if line, err = im.f.OpenGap(ctx, "*", scan.from, scan.to, key+im.adjusted(scan.layout)); err != nil {
			return err
		}
		im.lines[key] = line
		if err := im.f.Flush(ctx); err != nil {
			return fmt.Errorf("store the ledger: %w", err)
		}
	}
	start := im.p
	if err := im.publish(ctx, path, before.at); err != nil {
		return err
	}
	if err := im.f.Flush(ctx); err != nil {
		return fmt.Errorf("store what was imported: %w", err)
	}
	if after, err := versionOf(path); err != nil || after != before {
		return errors.Join(errors.New("the file was changed while it was read: import it again"), err)
	}
	state := market.GapFilled
	if n := im.p.Rejected - start.Rejected; n > 0 {
		state = market.GapPartly
		line.Reason = fmt.Sprintf("%s; %d rows refused", key+im.adjusted(scan.layout), n)
	}
	if err := im.f.SettleGap(ctx, line, line.To, state, uint64(im.p.Published-start.Published)); err != nil {
		return err
	}
	line.State = state
	im.lines[key] = line
	im.progress()
	return im.f.Flush(ctx)
}

// adjusted is what the ledger says of a file whose prices are adjusted: daily_closes must not adjust them again. Yahoo's are adjusted for splits alone.
func (im *importer) adjusted(layout Layout) string {
	if !im.opt.Adjusted {
		return ""
	}
	return fmt.Sprintf("; adjusted (%s)", layout)
}

// publish reads the file and publishes what is new.
func (im *importer) publish(ctx context.Context, path string, made time.Time) error {
	r := im.reader(path, made)
	pub := &published{im: im, seen: map[string]*feed.Seen{}, bars: map[barKey]barState{}}
	reject := func(x row, err error) error {
		im.p.Rejected++
		return im.f.Reject(ctx, fmt.Sprintf("%s:%d", nameOf(path), x.line), feed.ReasonOf(err, feed.ReasonMalformed), err, x.raw)
	}
	err := r.read(ctx, func(ev market.Event, x row) error {
		if im.p.Rows++; im.p.Rows%progressEvery == 0 {
			im.progress()
		}
		m := ev.GetMeta()
		m.Source, m.RecvTime, m.Backfill = im.opt.Source, im.f.Now(), true
		err := ev.Validate()
		if err == nil {
			err = market.CheckFuture(ev, 0)
		}
		if err != nil {
			return reject(x, err)
		}
		if b, ok := ev.(*market.Bar); ok {
			return r.keep(b, x, im, reject)
		}
		return pub.emit(ctx, ev, path, x)
	}, func(x row, err error) error {
		im.p.Rows++
		return reject(x, err)
	})
	if err != nil {
		return err
	}
	for _, k := range r.keptBars() {
		if err := pub.emitBar(ctx, k.bar, path, k.row); err != nil {
			return err
		}
	}
	return nil
}

// published is what was published before of the symbols of a file, read from the streams when a symbol comes first.
type published struct {
	im   *importer
	seen map[string]*feed.Seen
	bars map[barKey]barState
}

// known reads what was published under some tokens, once.
func (p *published) known(ctx context.Context, stream market.Stream, tokens ...string) (*feed.Seen, error) {
	key := string(stream) + "|" + strings.Join(tokens, "|")
	if s := p.seen[key]; s != nil {
		return s, nil
	}
	s := feed.NewSeen(math.MaxInt) // a generation that is never full: the symbol bounds it
	p.seen[key] = s
	if p.im.deps.History == nil {
		return s, nil
	}
	err := p.im.deps.History.Replay(ctx, stream, p.im.opt.Source, time.Time{}, func(ev market.Event, _ market.Place) error {
		if b, ok := ev.(*market.Bar); ok {
			if old, known := p.bars[keyOf(b)]; !known || b.Rev >= old.rev {
				p.bars[keyOf(b)] = barState{contentOf(b), b.Rev, b.Final}
			}
			return nil
		}
		s.Add([]byte(ev.Identity()))
		return nil
	}, tokens...)
	if err != nil {
		return nil, fmt.Errorf("read what was published before: %w", err)
	}
	return s, nil
}

func (p *published) emit(ctx context.Context, ev market.Event, path string, x row) error {
	_, tokens := ev.Tokens()
	known, err := p.known(ctx, ev.Stream(), tokens...)
	if err != nil {
		return err
	}
	if !known.Add([]byte(ev.Identity())) {
		p.im.p.Known++
		return nil
	}
	return p.send(ctx, ev, path, x)
}

func (p *published) send(ctx context.Context, ev market.Event, path string, x row) error {
	fresh, err := p.im.f.Emit(ctx, ev, nameOf(path), x.raw)
	if fresh {
		p.im.p.Published++
	} else if err == nil {
		p.im.p.Known++
	}
	return err
}

type barKey struct {
	symbol   string
	interval market.Interval
	start    int64
}

func keyOf(b *market.Bar) barKey { return barKey{b.Symbol, b.Interval, b.EventTime.Unix()} }

type barState struct {
	content string
	rev     uint32
	final   bool
}

func contentOf(b *market.Bar) string {
	var text strings.Builder
	for _, d := range [...]market.Decimal{b.OpenUSD, b.HighUSD, b.LowUSD, b.CloseUSD, b.Volume, b.VWAPUSD} {
		text.WriteString(d.Trim(0).String() + "|")
	}
	return text.String() + fmt.Sprint(b.TradeCount)
}

// emitBar publishes a bar that is new, or has other values than before: that is its next revision.
func (p *published) emitBar(ctx context.Context, b *market.Bar, path string, x row) error {
	_, tokens := b.Tokens()
	if _, err := p.known(ctx, market.Bars, tokens...); err != nil {
		return err
	}
	old, known := p.bars[keyOf(b)]
	if known {
		if old.content == contentOf(b) && (old.final || !b.Final) {
			p.im.p.Known++
			return nil
		}
		b.Rev = old.rev + 1
		p.im.p.Revised++
	}
	p.bars[keyOf(b)] = barState{contentOf(b), b.Rev, b.Final}
	return p.send(ctx, b, path, x)
}

// keptBar is a bar with its row.
type keptBar struct {
	bar *market.Bar
	row row
}

func (r *reader) keptBars() []keptBar {
	out := make([]keptBar, 0, len(r.kept))
	for _, k := range r.kept {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b keptBar) int {
		if c := a.bar.EventTime.Compare(b.bar.EventTime); c != 0 {
			return c
		}
		return strings.Compare(a.bar.Symbol+string(a.bar.Interval), b.bar.Symbol+string(b.bar.Interval))
	})
	return out
}

// keep holds a bar back until the file is read: of a bar that is told twice the later row is meant. Of Yahoo's daily charts it is the
// earlier: the latest price is appended there as if it were a day.
func (r *reader) keep(b *market.Bar, x row, im *importer, reject func(row, error) error) error {
	k := keyOf(b)
	if _, twice := r.kept[k]; twice {
		if r.layout == YahooJSON && b.Interval == market.Interval1d {
			return reject(x, &market.Invalid{Reason: market.ReasonIncoherent, Detail: "a second row of the day: the latest price, not a day's bar"})
		}
		im.p.Replaced++
	}
	r.kept[k] = keptBar{b, x}
	return nil
}
