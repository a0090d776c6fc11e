//go:build linux

package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// judge compares what the upstream offered with what landed and what the ledger says was missed, and holds the rules.
func (o *overload) judge(ctx context.Context) error {
	o.pressure()
	o.memories()
	t, err := readFlood(o.told)
	if err != nil {
		return err
	}
	if o.rep.Events, err = o.account(ctx, t); err != nil {
		return err
	}
	e := o.rep.Events
	if e.Missed != t.Dropped || e.Lines != t.Gaps {
		o.failed("the ledger has %d lines of %d events; the feed let %d pass by, in %d lines", e.Lines, e.Missed, t.Dropped, t.Gaps)
	}
	if e.Lost+e.Doubled+e.Strange > 0 || e.Landed == 0 {
		o.failed("of %d events %d landed; %d are neither landed nor in the ledger, %d stand twice, %d landed and are in the ledger", e.Offered, e.Landed, e.Lost, e.Doubled, e.Strange)
	}
	for name, c := range o.rep.Clients {
		if name != "all" {
			o.rep.Pressure.Conflated += c.Skipped
		}
		if c.Told+c.Skipped != c.Rows || c.Told == 0 {
			o.failed("client %s was told %d and that it was not told %d, of %d", name, c.Told, c.Skipped, c.Rows)
		}
	}
	if o.rep.Pressure.Conflated == 0 {
		o.failed("the gateway left nothing out for the client that wants one message a second")
	}
	used, err := sizeOf(o.dir)
	if err != nil {
		return err
	}
	if o.rep.Disk = max(o.rep.Disk, used); used > o.cfg.Disk {
		o.failed("everything takes %d bytes on the disk, allowed are %d", used, o.cfg.Disk)
	}
	if err := o.audited(ctx); err != nil {
		return err
	}
	o.rep.Audit = o.roll.rep.Audit
	o.rep.Failed = append(o.rep.Failed, o.roll.rep.Failed...)
	if o.rep.Audit.Pending > 0 {
		o.failed("the audit: %d events have not landed", o.rep.Audit.Pending)
	}
	for name, p := range o.all() {
		if starts, exits := p.counts(); starts != 1 || name != "flood" && len(exits) > 0 {
			o.rep.Exits[name] = fmt.Sprint(exits)
			o.failed("%s ended: %v", name, exits)
		}
	}
	return o.prove(ctx, t)
}

// prove takes a row away and doubles another, which the comparison must see.
func (o *overload) prove(ctx context.Context, t floodTold) error {
	for _, spoil := range []string{
		"ALTER TABLE trades DELETE WHERE source = '" + floodSource + "' AND trade_id = '0' SETTINGS mutations_sync = 2",
		"INSERT INTO trades SELECT * FROM trades WHERE source = '" + floodSource + "' AND trade_id = '" + strconv.Itoa(tradeEvery) + "' SETTINGS insert_deduplicate = 0, asterisk_include_alias_columns = 0",
	} {
		if _, err := o.sql(ctx, spoil); err != nil {
			return err
		}
	}
	e, err := o.account(ctx, t)
	if err == nil && (e.Lost != o.rep.Events.Lost+1 || e.Doubled != o.rep.Events.Doubled+1) {
		o.failed("a row was taken away and another doubled, and the comparison tells %d lost and %d doubled", e.Lost, e.Doubled)
	}
	return err
}

// pressure holds that it showed where it has to.
func (o *overload) pressure() {
	p := &o.rep.Pressure
	for i, s := range o.samples {
		p.LagMessages, p.StreamBytes = max(p.LagMessages, s.lag), max(p.StreamBytes, s.bytes)
		if s.full && i > 0 {
			p.FullS += (s.at - o.samples[i-1].at).Seconds()
		}
	}
	t, err := readFlood(o.told)
	if err != nil || t.Stored == 0 {
		o.failed("the feed stored nothing: %v", err)
		return
	}
	p.LagBytes = uint64(float64(p.LagMessages) * o.perMessage.bytes)
	p.LagSeconds = float64(p.LagMessages) * o.perMessage.events / o.rep.Capacity
	if least := 0.05 * o.cfg.For.Seconds(); p.LagSeconds < least {
		o.failed("the stream was at most %.1f s behind at %.0f rows/s, which is no back-pressure; at least %.1f were expected", p.LagSeconds, o.rep.Capacity, least)
	}
	if p.FullS == 0 || p.Refusals == 0 {
		o.failed("the stream was full for %.0f s and refused %d messages; it has to refuse", p.FullS, p.Refusals)
	}
	if p.BlockedS < 1 || t.Dropped == 0 {
		o.failed("the publisher held its feed up for %.1f s, and %d events passed by; it has to hold it up", p.BlockedS, t.Dropped)
	}
}

// memories holds that no process goes on growing: the last quarter of the load against the second.
func (o *overload) memories() {
	most := func(samples []sample, name string) (m float64) {
		for _, s := range samples {
			m = max(m, s.memory[name])
		}
		return m
	}
	for name := range o.all() {
		m := &memory{
			Early: most(o.within(o.quarter, 2*o.quarter), name), Late: most(o.within(3*o.quarter, o.cfg.For+o.quarter), name), Peak: most(o.samples, name),
		}
		o.rep.Memory[name] = m
		bound := 1.3*m.Early + 64
		if name == "signals" {
			// It holds the prints of the open trade date, some 250 bytes each: that is what it is for, and no leak.
			bound += float64(o.rep.Capacity) * o.cfg.For.Seconds() / tradeEvery * 250 / (1 << 20)
		}
		if m.Late > bound || m.Early == 0 {
			o.failed("%s had %.0f MiB in the second quarter of the load and %.0f in the last; at most %.0f are allowed", name, m.Early, m.Late, bound)
		}
	}
}

// bucket is how many of the upstream's events are summed up together.
const bucket = 1 << 17

type sums struct {
	count, sum, squares uint64
}

func (s *sums) add(n int64) {
	s.count++
	s.sum += uint64(n)
	s.squares += uint64(n) * uint64(n)
}

// account holds that each event that the upstream sent has a row or is in a line of the ledger, once and not both.
func (o *overload) account(ctx context.Context, t floodTold) (e eventCount, _ error) {
	e.Offered = t.Offered
	missed, err := o.ledger(ctx, t)
	if err != nil {
		return e, err
	}
	e.Lines = len(missed)
	want := map[int64]*sums{}
	next := int64(0)
	for _, m := range append(missed, [2]int64{t.Offered, t.Offered}) {
		if m[0] < next {
			return e, fmt.Errorf("the lines of the ledger overlap at event %d", m[0])
		}
		for n := next; n < m[0]; n++ {
			s := want[n/bucket]
			if s == nil {
				s = &sums{}
				want[n/bucket] = s
			}
			s.add(n)
		}
		e.Missed += m[1] - m[0]
		next = m[1]
	}
	number := fmt.Sprintf("intDiv(toUnixTimestamp64Nano(event_time) - %d, %d)", t.Base, t.Spacing)
	union := fmt.Sprintf("(SELECT %[1]s AS n FROM quotes WHERE source = '%[2]s' UNION ALL SELECT %[1]s FROM trades WHERE source = '%[2]s')", number, floodSource)
	wrong := map[int64]bool{}
	err = o.rows(ctx, fmt.Sprintf("SELECT intDiv(n, %d) AS b, count(), sum(toUInt64(n)), sum(toUInt64(n) * toUInt64(n)) FROM %s GROUP BY b", bucket, union), database, func(line string) error {
		var b int64
		var s sums
		if _, err := fmt.Sscan(line, &b, &s.count, &s.sum, &s.squares); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		e.Landed += int64(s.count)
		if w := want[b]; w == nil || *w != s {
			wrong[b] = true
		}
		delete(want, b)
		return nil
	})
	if err != nil {
		return e, err
	}
	for b := range want { // of which nothing landed
		wrong[b] = true
	}
	for b := range wrong {
		if err := o.accountOf(ctx, &e, b, missed, union); err != nil {
			return e, err
		}
	}
	return e, nil
}

// accountOf looks at each event of a bucket whose sums are not as they should be.
func (o *overload) accountOf(ctx context.Context, e *eventCount, b int64, missed [][2]int64, union string) error {
	seen := map[int64]int{}
	err := o.rows(ctx, fmt.Sprintf("SELECT n, count() FROM %s WHERE intDiv(n, %d) = %d GROUP BY n", union, bucket, b), database, func(line string) error {
		n, times, _ := strings.Cut(line, "\t")
		at, err := strconv.ParseInt(n, 10, 64)
		if err != nil {
			return err
		}
		seen[at], err = strconv.Atoi(times)
		return err
	})
	if err != nil {
		return err
	}
	listed := func(n int64) bool {
		for _, m := range missed {
			if n >= m[0] && n < m[1] {
				return true
			}
		}
		return false
	}
	for n := b * bucket; n < min((b+1)*bucket, e.Offered); n++ {
		switch times := seen[n]; {
		case times == 0 && !listed(n):
			e.Lost++
		case times > 0 && listed(n):
			e.Strange++
		case times > 1:
			e.Doubled += int64(times - 1)
		}
	}
	return nil
}

// ledger reads what was missed, as numbers of events, in order.
func (o *overload) ledger(ctx context.Context, t floodTold) (out [][2]int64, _ error) {
	err := o.rows(ctx, "SELECT toUnixTimestamp64Nano(assumeNotNull(from_time)), toUnixTimestamp64Nano(assumeNotNull(to_time)), state FROM feed_gaps_now WHERE source = '"+floodSource+"' ORDER BY from_time", database, func(line string) error {
		var from, to int64
		var state string
		if _, err := fmt.Sscan(line, &from, &to, &state); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		if state != "given_up" {
			return errors.New("a line of the ledger is " + state)
		}
		out = append(out, [2]int64{(from - t.Base) / t.Spacing, (to-t.Base)/t.Spacing + 1})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the gap ledger: %w", err)
	}
	return out, nil
}
