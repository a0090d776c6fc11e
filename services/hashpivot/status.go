package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

type statusCmd struct{}

type streamStatus struct {
	Messages uint64    `json:"messages"`
	LastSeq  uint64    `json:"last_seq"`
	Landed   uint64    `json:"landed_seq"`
	Behind   uint64    `json:"behind"`
	Bytes    uint64    `json:"bytes"`
	LastTime time.Time `json:"last_time,omitzero"`
	Rows     uint64    `json:"rows"`
}

type feedStatus struct {
	Source string    `json:"source"`
	State  string    `json:"state"`
	Detail string    `json:"detail,omitempty"`
	Since  time.Time `json:"since"`
}

type statusReport struct {
	Mode     mode                    `json:"mode"`
	Database string                  `json:"database"`
	Streams  map[string]streamStatus `json:"streams"`
	Feeds    []feedStatus            `json:"feeds"`
	OpenGaps uint64                  `json:"open_gaps"`
	// Missing are the gaps of which something is missing for good.
	Missing uint64         `json:"gaps_missing"`
	Leases  []bus.Holder   `json:"leases"`
	Rejects []rejectStatus `json:"dead_letters,omitempty"`
	Audits  []auditStatus  `json:"audits,omitempty"`
}

type rejectStatus struct {
	Of     string `json:"of"`
	Source string `json:"source"`
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// Run prints the state of the pipeline once.
func (c *statusCmd) Run(a *app) error {
	b, cfg, err := a.attach()
	if err != nil {
		return err
	}
	defer b.close()
	rep := statusReport{Database: cfg.ClickHouse.Database, Streams: map[string]streamStatus{}}
	if m, _, err := b.bus.Cell("mode").Get(a.ctx); err == nil {
		rep.Mode = mode(m)
	}
	counts, err := b.store.Counts(a.ctx)
	if err != nil {
		return err
	}
	for _, st := range market.Streams() {
		info, err := b.bus.Info(a.ctx, st)
		if err != nil {
			return err
		}
		rec, _, err := b.bus.Landing(a.ctx, st)
		if err != nil {
			return err
		}
		s := streamStatus{
			Messages: info.Messages, LastSeq: info.LastSeq, Landed: rec.Last, Bytes: info.Bytes, Rows: counts[st].Rows,
		}
		if info.LastSeq > 0 {
			s.LastTime = info.LastTime
		}
		s.Behind = info.LastSeq - min(rec.Last, info.LastSeq)
		rep.Streams[string(st)] = s
	}
	if rep.Feeds, err = feedStates(a, b); err != nil {
		return err
	}
	if rep.Leases, err = b.bus.Holders(a.ctx); err != nil {
		return err
	}
	res, err := b.store.Query(a.ctx, "SELECT countIf(state = 'open'), countIf(state IN ('partly', 'given_up')) FROM feed_gaps_now")
	if err != nil {
		return err
	}
	if len(res.Rows) == 1 {
		rep.OpenGaps, _ = res.Rows[0][0].(uint64)
		rep.Missing, _ = res.Rows[0][1].(uint64)
	}
	res, err = b.store.Query(a.ctx, "SELECT dead_stream, source, reason, count() FROM dead_letters GROUP BY dead_stream, source, reason ORDER BY 4 DESC LIMIT 20")
	if err != nil {
		return err
	}
	for _, r := range res.Rows {
		n, _ := r[3].(uint64)
		rep.Rejects = append(rep.Rejects, rejectStatus{Of: fmt.Sprint(r[0]), Source: fmt.Sprint(r[1]), Reason: fmt.Sprint(r[2]), Count: n})
	}
	if rep.Audits, err = lastAudits(a, b); err != nil && !store.IsSchema(err) { // a database before audits were kept
		return err
	}
	if a.cli.JSON {
		line, err := json.Marshal(rep)
		if err != nil {
			return err
		}
		a.printf("%s\n", line)
		return nil
	}
	printStatus(a, rep)
	return nil
}

func feedStates(a *app, b *backends) ([]feedStatus, error) {
	res, err := b.store.Query(a.ctx, "SELECT source, argMax(state, (event_time, stream_seq, idx)), argMax(detail, (event_time, stream_seq, idx)), max(event_time) FROM feed_events GROUP BY source ORDER BY source")
	if err != nil {
		return nil, err
	}
	var out []feedStatus
	for _, r := range res.Rows {
		at, _ := r[3].(time.Time)
		out = append(out, feedStatus{Source: fmt.Sprint(r[0]), State: fmt.Sprint(r[1]), Detail: fmt.Sprint(r[2]), Since: at.UTC()})
	}
	return out, nil
}

func printStatus(a *app, rep statusReport) {
	a.printf("%s data, database %s\n\n", rep.Mode, rep.Database)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "stream\tmessages\tMB\tlast seq\tlanded seq\tbehind\trows\tlast message\t")
	for _, st := range market.Streams() {
		s := rep.Streams[string(st)]
		last := "never"
		if !s.LastTime.IsZero() {
			last = time.Since(s.LastTime).Round(time.Second).String() + " ago"
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%.1f\t%d\t%d\t%d\t%d\t%s\t\n", st, s.Messages, float64(s.Bytes)/1e6, s.LastSeq, s.Landed, s.Behind, s.Rows, last)
	}
	_ = w.Flush()
	a.printf("\n")
	for _, f := range rep.Feeds {
		a.printf("feed %-20s %-10s since %s %s\n", f.Source, f.State, f.Since.Format(time.DateTime), f.Detail)
	}
	for _, l := range rep.Leases {
		state := "held by " + l.Holder + " since " + l.Since.Format(time.DateTime)
		if !l.Held || time.Since(l.Renewed) > l.TTL {
			state = "held by nobody"
		}
		a.printf("lease %-10s %s\n", l.Lease, state)
	}
	a.printf("gaps: %d open, %d with something missing for good (hashpivot gaps)\n", rep.OpenGaps, rep.Missing)
	for _, s := range rep.Audits {
		a.printf("%s\n", s)
	}
	for _, r := range rep.Rejects {
		a.printf("dead letters: %d of %s from %s: %s\n", r.Count, r.Of, r.Source, r.Reason)
	}
}
