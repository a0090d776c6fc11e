//go:build linux

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// judge lets everything land, stops the watchers, and compares.
func (r *roll) judge(ctx context.Context, w *watchers, began, ended time.Time) error {
	err := r.settledGaps(ctx)
	if err == nil {
		err = r.landedAll(ctx)
	}
	if err == nil {
		err = pause(ctx, 4*lookEvery)
	}
	w.stop()
	if err != nil {
		return err
	}
	for _, e := range w.errs {
		r.failed("%s", e)
	}
	r.delays(w)
	return errors.Join(r.audited(ctx), r.venue(ctx, began, ended), r.compareClients(ctx, w))
}

// settledGaps waits until the ledger has no open line: what a restarted feed owes is then fetched.
func (r *roll) settledGaps(ctx context.Context) error {
	err := r.poll(ctx, "the gaps to be settled", time.Minute, func(ctx context.Context) error {
		out, err := r.sql(ctx, "SELECT countIf(state = 'open') FROM feed_gaps_now")
		if err == nil && out != "0" {
			err = fmt.Errorf("%s are open", out)
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.rows(ctx, "SELECT source, state, count() FROM feed_gaps_now GROUP BY source, state ORDER BY source, state", database, func(line string) error {
		f := strings.Split(line, "\t")
		n, err := strconv.Atoi(f[2])
		r.rep.Gaps[f[0]+" "+f[1]] = n
		return err
	})
}

// delays judges how long everything took, and which restart the worst belong to.
func (r *roll) delays(w *watchers) {
	within := func(all []seenAt, from, to time.Time) float64 {
		worst := time.Duration(0)
		for _, s := range all {
			if !s.recv.Before(from) && s.recv.Before(to) {
				worst = max(worst, s.delay())
			}
		}
		return worst.Seconds()
	}
	if len(r.rep.Restarts) > 0 {
		first := r.rep.Restarts[0].at
		q := &r.rep.Quiet
		q.QueryableMaxS, q.LiveMaxS = within(w.queryable, w.began, first), within(w.live, w.began, first)
		// What came before is the machine's own, and is not judged.
		before := func(s seenAt) bool { return s.recv.Before(first) }
		w.queryable, w.live, w.event = slices.DeleteFunc(w.queryable, before), slices.DeleteFunc(w.live, before), slices.DeleteFunc(w.event, before)
	}
	for i := range r.rep.Restarts {
		x := &r.rep.Restarts[i]
		to := time.Now()
		if i+1 < len(r.rep.Restarts) {
			to = r.rep.Restarts[i+1].at
		}
		x.QueryableMaxS, x.LiveMaxS = within(w.queryable, x.at, to), within(w.live, x.at, to)
	}
	r.rep.Queryable, r.rep.Live, r.rep.Event = sum(w.queryable), sum(w.live), sum(w.event)
	for what, d := range map[string]delays{"queryable": r.rep.Queryable, "with a client": r.rep.Live} {
		if d.Events == 0 {
			r.failed("nothing was seen to be %s", what)
		}
		if d.Max > mostDelay.Seconds() {
			r.failed("%s was %s %.1f s after it was received, asked are %s", d.Worst, what, d.Max, mostDelay)
		}
	}
}

// audited has hashpivot audit itself.
func (r *roll) audited(ctx context.Context) error {
	out, err := r.hashpivot(ctx, "audit", "--json")
	var a audit
	if jerr := json.Unmarshal([]byte(out), &a); jerr != nil {
		return errors.Join(err, fmt.Errorf("read the audit: %w: %.300s", jerr, out))
	}
	x := &r.rep.Audit
	for _, s := range a.Streams {
		x.Published, x.Landed, x.Dead, x.Pending = x.Published+s.Published, x.Landed+s.Landed, x.Dead+s.Dead, x.Pending+s.Pending
	}
	x.Lost, x.Duplicates, x.Altered = a.Lost, a.Duplicates, a.Altered
	if x.Lost+x.Duplicates+x.Altered > 0 {
		r.failed("the audit: lost %d, doubled %d, altered %d", x.Lost, x.Duplicates, x.Altered)
	}
	return nil
}

// venue asks Alpaca's simulator for its prints of the time, and holds each against the table: once, with its fate.
func (r *roll) venue(ctx context.Context, began, ended time.Time) error {
	type print struct {
		I uint64 `json:"i"`
		U string `json:"u"`
	}
	rows := map[string]int{}
	err := r.rows(ctx, "SELECT symbol, toString(action), trade_id, original_trade_id, count() FROM trades WHERE source = 'sim-alpaca' GROUP BY 1, 2, 3, 4", database, func(line string) error {
		f := strings.Split(line, "\t")
		n, err := strconv.Atoi(f[4])
		rows[f[0]+" "+f[1]+" "+f[2]] += n
		if f[1] == "correction" {
			rows[f[0]+" corrected "+f[3]] += n
		}
		return err
	})
	if err != nil {
		return err
	}
	// What was said at the very edges may be told on either side of them.
	q := url.Values{
		"symbols": {"WGMI,CORZ,BTBT,IREN"}, "start": {began.Add(time.Second).UTC().Format(time.RFC3339Nano)}, "end": {ended.Add(-2 * time.Second).UTC().Format(time.RFC3339Nano)},
		"limit": {"10000"}, "feed": {"iex"},
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.alpaca+"/v2/stocks/trades?"+q.Encode(), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Apca-Api-Key-Id", "any")
		req.Header.Set("Apca-Api-Secret-Key", "any")
		resp, err := r.http.Do(req)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		var page struct {
			Trades map[string][]print `json:"trades"`
			Next   *string            `json:"next_page_token"`
		}
		if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(body, &page) != nil {
			return fmt.Errorf("ask the venue for its prints: %s %.200s %w", resp.Status, body, err)
		}
		for symbol, list := range page.Trades {
			for _, p := range list {
				r.rep.Venue.Prints++
				at := func(action string) int { return rows[fmt.Sprint(symbol, " ", action, " ", p.I)] }
				switch told := at("trade") + at("correction"); {
				case told == 0:
					r.rep.Venue.Missing++
				case told > 1:
					r.rep.Venue.Doubled++
				}
			}
		}
		if page.Next == nil {
			break
		}
		q.Set("page_token", *page.Next)
	}
	if v := r.rep.Venue; v.Missing+v.Doubled > 0 || v.Prints == 0 {
		r.failed("of %d prints of the venue %d have no row and %d have several", v.Prints, v.Missing, v.Doubled)
	}
	return nil
}

// compareClients holds that each client was told exactly the rows of the tables, in order.
func (r *roll) compareClients(ctx context.Context, w *watchers) error {
	x := &r.rep.Clients
	x.Reconnects = w.reconnects.Load()
	for _, f := range w.clients {
		for _, ch := range followed {
			places := f.places[ch]
			if len(places) == 0 {
				continue
			}
			told := map[[2]uint64]int{}
			for i, p := range places {
				told[[2]uint64{p.Seq, uint64(p.Idx)}]++
				if i > 0 && (p.Seq < places[i-1].Seq || p.Seq == places[i-1].Seq && p.Idx <= places[i-1].Idx) {
					x.Disordered++
				}
			}
			x.Messages += len(places)
			rows, err := r.placesOf(ctx, ch, places[0], places[len(places)-1])
			if err != nil {
				return err
			}
			for p := range rows {
				switch told[p] {
				case 0:
					x.Missing++
				case 1:
				default:
					x.Doubled++
				}
			}
			for p := range told {
				if !rows[p] {
					x.Doubled++ // a row that is not there
				}
			}
		}
	}
	if x.Missing+x.Doubled+x.Disordered > 0 || x.Messages == 0 {
		r.failed("the clients had %d messages, %d too few, %d too many, %d out of order", x.Messages, x.Missing, x.Doubled, x.Disordered)
	}
	return nil
}

// placesOf are the rows of a channel's tables between two places.
func (r *roll) placesOf(ctx context.Context, ch live.Channel, first, last market.Place) (map[[2]uint64]bool, error) {
	out := map[[2]uint64]bool{}
	for _, t := range store.Tables(ch.Stream()) {
		where := ""
		if ch == live.Bars {
			where = " AND interval = '1m'"
		}
		query := fmt.Sprintf("SELECT stream_seq, idx FROM %s WHERE (stream_seq, idx) >= (%d, %d) AND (stream_seq, idx) <= (%d, %d)%s", t, first.Seq, first.Idx, last.Seq, last.Idx, where)
		err := r.rows(ctx, query, database, func(line string) error {
			a, b, _ := strings.Cut(line, "\t")
			seq, err := strconv.ParseUint(a, 10, 64)
			if err != nil {
				return err
			}
			idx, err := strconv.ParseUint(b, 10, 64)
			out[[2]uint64{seq, idx}] = true
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
