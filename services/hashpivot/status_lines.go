package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// statusLines is the report for people: what is wrong stands out, what is quiet takes little room.
func statusLines(rep statusReport, p paint) []string {
	l := &lines{p: p, now: rep.At}
	l.head(rep)
	l.feeds(rep)
	l.streams(rep)
	l.running(rep)
	l.checked(rep)
	return l.out
}

type lines struct {
	p   paint
	now time.Time
	out []string
}

func (l *lines) add(format string, args ...any) {
	l.out = append(l.out, fmt.Sprintf(format, args...))
}

// ago is how long something is ago, in one or two letters' precision.
func (l *lines) ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return short(l.now.Sub(t)) + " ago"
}

// short is a duration for people.
func short(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " d"
}

// count has its thousands parted.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func rate(r *float64, unit string) string {
	if r == nil {
		return ""
	}
	return count(uint64(*r+0.5)) + " " + unit + "/s"
}

func size(n uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for ; f >= 1000 && i < len(units)-1; i++ {
		f /= 1000
	}
	return strconv.FormatFloat(f, 'f', min(i, 1), 64) + " " + units[i]
}

// table aligns cells; columns whose head begins with > to the right. A cell's colours take no room.
func (l *lines) table(heads []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}
	width := func(s string) int { return utf8.RuneCountInString(colours.ReplaceAllString(s, "")) }
	widths := make([]int, len(heads))
	for i, h := range heads {
		widths[i] = width(strings.TrimPrefix(h, ">"))
		for _, r := range rows {
			widths[i] = max(widths[i], width(r[i]))
		}
	}
	line := func(cells []string) string {
		var b strings.Builder
		for i, c := range cells {
			pad := strings.Repeat(" ", widths[i]-width(c))
			switch {
			case strings.HasPrefix(heads[i], ">"):
				b.WriteString(pad + c)
			case i < len(cells)-1:
				b.WriteString(c + pad)
			default:
				b.WriteString(c)
			}
			if i < len(cells)-1 {
				b.WriteString("  ")
			}
		}
		return strings.TrimRight(b.String(), " ")
	}
	names := make([]string, len(heads))
	for i, h := range heads {
		names[i] = strings.TrimPrefix(h, ">")
	}
	l.add("%s", l.p.bold(line(names)))
	for _, r := range rows {
		l.add("%s", line(r))
	}
}

// colours are what paint puts in.
var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

func (l *lines) head(rep statusReport) {
	up := func(name, version string) string {
		if version == "" {
			return l.p.bad(name + " IS NOT REACHED")
		}
		return l.p.good(name + " " + version)
	}
	l.add("%s  %s data  database %s  %s UTC  %s  %s", l.p.bold("hashpivot"), cmp.Or(string(rep.Mode), "no"), rep.Database, rep.At.Format(time.TimeOnly),
		up("NATS", rep.NATS), up("ClickHouse", rep.Click))
	for _, x := range rep.Problems {
		l.add("%s %s", l.p.bad("not read: "+x.Part+":"), x.Error)
	}
	l.add("")
}

func (l *lines) feeds(rep statusReport) {
	var rows [][]string
	for _, f := range rep.Feeds {
		state := f.State
		switch market.FeedState(f.State) {
		case market.FeedConnected:
			state = l.p.good(state)
		case market.FeedStopped:
			state = l.p.dim(state)
		case market.FeedRefused:
			state = l.p.bad(state)
		default:
			state = l.p.odd(state)
		}
		open := ""
		if f.OpenGaps > 0 {
			open = l.p.odd(count(f.OpenGaps))
		}
		last := ""
		if !f.LastEvent.IsZero() {
			last = l.ago(f.LastEvent)
		}
		rows = append(rows, []string{f.Source, state, l.ago(f.Since), last, open, strings.ReplaceAll(f.Detail, "\n", " ")})
	}
	l.table([]string{"feed", "state", ">since", ">last event", ">open gaps", ""}, rows)
	gaps := fmt.Sprintf("gaps: %s open, %s with something missing for good (hashpivot gaps)", count(rep.OpenGaps), count(rep.Missing))
	if rep.OpenGaps > 0 {
		gaps = l.p.odd(gaps)
	}
	l.add("%s", gaps)
	l.add("")
}

func (l *lines) streams(rep statusReport) {
	behind := map[market.Stream][]landingStatus{}
	for _, x := range rep.Landing {
		behind[x.Stream] = append(behind[x.Stream], x)
	}
	var rows [][]string
	for _, st := range market.Streams() {
		s, ok := rep.Streams[st]
		if !ok {
			continue
		}
		full := ""
		if s.MaxBytes > 0 {
			if part := float64(s.Bytes) / float64(s.MaxBytes); part >= 0.01 {
				full = fmt.Sprintf("%.0f %%", 100*part)
				if part >= 0.8 {
					full = l.p.bad(full)
				}
			}
		}
		var all landingStatus
		for _, x := range behind[st] {
			all.Messages, all.Events, all.AtLeast, all.Seconds = all.Messages+x.Messages, all.Events+x.Events, all.AtLeast || x.AtLeast, max(all.Seconds, x.Seconds)
		}
		rows = append(rows, append([]string{string(st), count(s.Messages), size(s.Bytes), full, l.ago(s.LastTime), count(s.Rows), rate(s.RowsPerSecond, "rows")}, l.lag(all)...))
		if len(behind[st]) < 2 {
			continue
		}
		for _, x := range behind[st] {
			rows = append(rows, append([]string{"  " + cmp.Or(x.Shard, "uncut"), "", "", "", "", "", ""}, l.lag(x)...))
		}
	}
	l.table([]string{"stream", ">messages", ">bytes", ">full", ">last", ">rows", ">landing", ">behind", ">events", ">for"}, rows)
	total := "landing: nobody lands"
	landers := 0
	for _, p := range rep.Processes {
		if p.Units > 0 {
			landers++
		}
		if p.Refused > 0 {
			l.add("%s", l.p.bad(fmt.Sprintf("%d streams stand still: they, their record and the database do not belong together (see the lander's log, and hashpivot doctor)", p.Refused)))
		}
	}
	if landers > 0 {
		total = fmt.Sprintf("landing: %s by %d process%s", cmp.Or(rate(rep.RowsPerSecond, "rows"), "?"), landers, plural(landers, "es"))
	}
	l.add("%s", total)
	for _, r := range rep.Rejects {
		l.add("%s", l.p.odd(fmt.Sprintf("dead letters: %s of %s from %s: %s, last %s (hashpivot dead)", count(r.Count), r.Of, r.Source, r.Reason, l.ago(r.Last))))
	}
	l.add("")
}

// slowLanding is when what has not landed stands out.
const slowLanding = 5

func (l *lines) lag(x landingStatus) []string {
	if x.Messages == 0 {
		return []string{"", "", ""}
	}
	more := ""
	if x.AtLeast {
		more = ">"
	}
	waits := short(time.Duration(x.Seconds * float64(time.Second)))
	if x.Seconds >= slowLanding {
		waits = l.p.bad(waits)
	}
	return []string{count(x.Messages), more + count(x.Events), waits}
}

func plural(n int, s string) string {
	if n == 1 {
		return ""
	}
	return s
}

func (l *lines) running(rep statusReport) {
	var rows [][]string
	for _, p := range rep.Processes {
		ready := l.p.good("ready")
		if !p.Ready {
			var why []string
			for _, name := range slices.Sorted(maps.Keys(p.Trouble)) {
				why = append(why, name+": "+p.Trouble[name])
			}
			ready = l.p.bad("NOT READY ") + strings.ReplaceAll(strings.Join(why, "; "), "\n", " ")
		}
		rows = append(rows, []string{p.Service, p.Holder, p.Version, short(l.now.Sub(p.Started)), size(p.Memory), p.Admin, ready})
	}
	l.table([]string{"process", "host/namespace/pid", "version", ">up", ">memory", "admin", ""}, rows)
	if len(rows) == 0 {
		l.add("%s", l.p.odd("no process answers"))
	}
	var held []string
	for _, x := range rep.Leases {
		who := x.Holder.Holder + " for " + short(l.now.Sub(x.Since))
		if x.Expired {
			who = l.p.odd("nobody")
		}
		held = append(held, x.Lease+" "+who)
	}
	if len(held) > 0 {
		l.add("leases: %s", strings.Join(held, ", "))
	}
	if g := rep.Gateways; g.Gateways > 0 {
		skipped := fmt.Sprintf("%s skipped for slow clients", count(g.Skipped))
		if g.Skipped > 0 {
			skipped = l.p.odd(skipped)
		}
		text := fmt.Sprintf("gateways: %d with %s clients, %s subscriptions, %s dispatched", g.Gateways, count(g.Clients), count(g.Subscriptions), count(g.Dispatched))
		per := g.DispatchedPerSecond
		if g.Deliveries > 0 {
			text += fmt.Sprintf(", %s delivered", count(g.Deliveries))
			per = g.DeliveriesPerSecond
		}
		text += fmt.Sprintf(", %s sent", size(g.SentBytes))
		if g.BytesPerSecond != nil {
			text += fmt.Sprintf(" (%s, %s/s)", rate(per, "messages"), size(uint64(*g.BytesPerSecond)))
		}
		l.add("%s, %s", text, skipped)
	}
	l.add("")
}

func (l *lines) checked(rep statusReport) {
	for _, s := range rep.Audits {
		text := s.text(l.now)
		if !s.Clean || s.Failed > 0 {
			text = l.p.bad(text)
		}
		l.add("%s", text)
	}
	if len(rep.Audits) == 0 {
		l.add("audit: none yet (hashpivot audit)")
	}
	for _, n := range rep.Nightly {
		text := fmt.Sprintf("nightly %s: %s, by the %s %s", n.TradeDate, n.State, n.By, l.ago(n.Started))
		if !n.Complete {
			text += ", incomplete"
		}
		if n.Differing > 0 {
			text += fmt.Sprintf(", %d figures differ", n.Differing)
		}
		if n.Error != "" {
			text += ": " + strings.ReplaceAll(n.Error, "\n", " ")
		}
		if n.State != "ok" && n.State != "running" {
			text = l.p.odd(text)
		}
		l.add("%s", text)
	}
	for _, d := range rep.Disks {
		text := fmt.Sprintf("disk of %s: %s free of %s", d.Of, size(d.Free), size(d.Total))
		if d.Free < d.Total/10 {
			text = l.p.bad(text)
		}
		l.add("%s", text)
	}
}
