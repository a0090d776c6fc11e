package access

import "time"

// Use is what a statement took of the quotas.
type Use struct {
	ReadRows, ResultRows, WrittenBytes uint64
	Elapsed                            time.Duration
	Failed                             bool
}

// Admit counts a statement against the account's quotas, or refuses it because one is spent.
func (a *Account) Admit(insert bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for i, q := range a.Quotas {
		s := &a.spent[i]
		if begin := now.Truncate(q.Interval); !begin.Equal(s.begin) {
			*s = spent{begin: begin}
		}
		for _, x := range []struct {
			what      string
			used, max uint64
			counts    bool
		}{
			{"queries", s.used.Queries + 1, q.Queries, true},
			{"query_inserts", s.used.Inserts + 1, q.Inserts, insert},
			{"errors", s.used.Errors, q.Errors, true},
			{"read_rows", s.used.ReadRows, q.ReadRows, true},
			{"result_rows", s.used.ResultRows, q.ResultRows, true},
			{"written_bytes", s.used.WrittenBytes, q.WrittenBytes, insert},
			{"execution_time", uint64(s.used.ExecutionTime), uint64(q.ExecutionTime), true},
		} {
			if x.counts && x.max > 0 && x.used > x.max {
				return refuse(201, "QUOTA_EXCEEDED", "Quota for user `%s` for %s has been exceeded: %s = %d/%d. Interval will end at %s",
					a.Name, q.Interval, x.what, x.used, x.max, s.begin.Add(q.Interval).UTC().Format(time.DateTime))
			}
		}
	}
	for i := range a.Quotas {
		a.spent[i].used.Queries++
		if insert {
			a.spent[i].used.Inserts++
		}
	}
	return nil
}

// Spend counts what a statement took.
func (a *Account) Spend(u Use) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.Quotas {
		s := &a.spent[i].used
		s.ReadRows += u.ReadRows
		s.ResultRows += u.ResultRows
		s.WrittenBytes += u.WrittenBytes
		s.ExecutionTime += u.Elapsed
		if u.Failed {
			s.Errors++
		}
	}
}
