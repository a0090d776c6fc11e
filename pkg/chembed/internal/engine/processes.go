package engine

import (
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// processes makes a statement that looks at system.processes see what runs as the clients know it: their query ids, users and addresses, which the engine
// does not know. KILL QUERY is done here.
func (s *Session) processes(run *Run) error {
	st := run.Statement
	if st.Kind == sqltext.KindKill {
		sql, err := s.killQuery(run)
		if err != nil {
			return err
		}
		run.Statement = sqltext.Parse(sql)
		run.Statement.Format = st.Format
		return nil
	}
	if st.Kind != sqltext.KindQuery && st.Kind != sqltext.KindOther || !strings.Contains(strings.ToLower(st.Text), "process") {
		return nil
	}
	var at []sqltext.Word
	words := sqltext.Words(st.Text)
	if words[0].Is("SHOW") && words[len(words)-1].Is("PROCESSLIST") {
		run.Statement = sqltext.Parse("SELECT * FROM view(" + s.eng.processList(run) + ")")
		run.Statement.Format = st.Format
		return nil
	}
	for i, w := range words {
		next := i+1 < len(words) && words[i+1].Behind
		if (w.Before == "FROM" || w.Before == "JOIN") && w.Dotted && next && w.Text == "system" && words[i+1].Text == "processes" {
			at = append(at, sqltext.Word{Start: w.Start, End: words[i+1].End})
		} else if (w.Before == "FROM" || w.Before == "JOIN") && !w.Dotted && w.Text == "processes" && s.database == "system" {
			at = append(at, w)
		}
	}
	if len(at) == 0 || st.Kind == sqltext.KindOther && !readsAlso(words) {
		return nil
	}
	view := "view(" + s.eng.processList(run) + ")"
	text := st.Text
	for i := len(at) - 1; i >= 0; i-- {
		text = text[:at[i].Start] + view + text[at[i].End:]
	}
	run.Statement = sqltext.Parse(text)
	return nil
}

// readsAlso says whether a statement that is no query reads as one does: INSERT SELECT, CREATE AS SELECT and EXPLAIN do; what only names a table, such
// as SHOW COLUMNS FROM, does not.
func readsAlso(words []sqltext.Word) bool {
	for _, w := range words[1:] {
		if w.Is("SELECT") {
			return true
		}
	}
	return false
}

// processList is the query that stands for system.processes.
func (e *Engine) processList(self *Run) string {
	running := e.reg.running()
	tags := make([]string, 0, len(running))
	for tag := range running {
		tags = append(tags, tag)
	}
	sort.Strings(tags)
	lists := map[string][]string{}
	for _, tag := range tags {
		r := running[tag]
		ip, port := "::", uint16(0)
		if ap, err := netip.ParseAddrPort(r.Remote); err == nil {
			a := ap.Addr().As16()
			ip, port = netip.AddrFrom16(a).String(), ap.Port()
		}
		kind := 1
		if r.HTTP {
			kind = 2
		}
		lists["tag"] = append(lists["tag"], sqltext.Quote(tag))
		lists["query_id"] = append(lists["query_id"], sqltext.Quote(r.ID))
		lists["user"] = append(lists["user"], sqltext.Quote(r.Account.Name))
		lists["query"] = append(lists["query"], sqltext.Quote(shorten(r.SQL)))
		lists["address"] = append(lists["address"], sqltext.Quote(ip))
		lists["port"] = append(lists["port"], fmt.Sprint(port))
		lists["interface"] = append(lists["interface"], fmt.Sprint(kind))
		lists["http_user_agent"] = append(lists["http_user_agent"], sqltext.Quote(shorten(r.Agent)))
	}
	const key = "Settings['" + tagSetting + "']"
	pick := func(list, otherwise string) string {
		return fmt.Sprintf("transform(%s, [%s], [%s], %s)", key, strings.Join(lists["tag"], ", "), strings.Join(lists[list], ", "), otherwise)
	}
	var b strings.Builder
	b.WriteString("SELECT * REPLACE(")
	fmt.Fprintf(&b, "%s AS query_id, %s AS initial_query_id, ", pick("query_id", "query_id"), pick("query_id", "initial_query_id"))
	fmt.Fprintf(&b, "%s AS user, %s AS initial_user, ", pick("user", "user"), pick("user", "initial_user"))
	fmt.Fprintf(&b, "%s AS query, ", pick("query", "query"))
	fmt.Fprintf(&b, "toIPv6(%s) AS address, toIPv6(%s) AS initial_address, ", pick("address", "'::'"), pick("address", "'::'"))
	fmt.Fprintf(&b, "toUInt16(%s) AS port, toUInt16(%s) AS initial_port, ", pick("port", "0"), pick("port", "0"))
	fmt.Fprintf(&b, "toUInt8(%s) AS interface, %s AS http_user_agent, ", pick("interface", "1"), pick("http_user_agent", "''"))
	b.WriteString("mapFilter((name, value) -> name != '" + tagSetting + "', Settings) AS Settings)")
	b.WriteString(" FROM system.processes")
	if self != nil && len(self.Account.Databases) > 0 {
		b.WriteString(" WHERE user = " + sqltext.Quote(self.Account.Name))
	}
	return b.String()
}

// shorten keeps a list of what runs from growing with the texts of it.
func shorten(s string) string {
	const most = 4096
	if len(s) > most {
		return s[:most]
	}
	return s
}

// killWait is how long KILL QUERY SYNC waits.
const killWait = 30 * time.Second

// killQuery does a KILL QUERY, and returns the query that tells what it did.
func (s *Session) killQuery(run *Run) (string, error) {
	st := run.Statement
	where := st.Kill.Where
	if where == "" {
		return "", NewError(CodeSyntax, "SYNTAX_ERROR", "Syntax error: KILL QUERY needs a WHERE")
	}
	own := ""
	if run.Account.Restricted() {
		own = " AND user = " + sqltext.Quote(run.Account.Name)
	}
	found, err := s.conn.Query("SELECT query_id, user, query FROM view("+s.eng.processList(nil)+") WHERE ("+where+")"+own, "RowBinary")
	if err != nil {
		return "", err
	}
	defer found.Free()
	var fields []string
	for b := found.Bytes(); len(b) > 0; {
		n, k := uvarint(b)
		if k <= 0 || uint64(len(b)-k) < n {
			return "", fmt.Errorf("read the list of queries: it is cut short")
		}
		fields = append(fields, string(b[k:k+int(n)]))
		b = b[k+int(n):]
	}
	others := map[string]*Run{}
	for _, r := range s.eng.reg.running() {
		if r != run {
			others[r.ID] = r
		}
	}
	var rows []string
	status := "waiting"
	for i := 0; i+2 < len(fields); i += 3 {
		victim := others[fields[i]]
		if victim == nil {
			continue
		}
		if !st.Kill.Test {
			s.eng.kill(victim.s.tag)
			if st.Kill.Sync {
				s.awaitEnd(victim)
				status = "finished"
			}
		}
		rows = append(rows, fmt.Sprintf("(%s, %s, %s, %s)", sqltext.Quote(status), sqltext.Quote(fields[i]), sqltext.Quote(fields[i+1]), sqltext.Quote(fields[i+2])))
	}
	if len(rows) == 0 {
		return "SELECT '' AS kill_status, '' AS query_id, '' AS user, '' AS query WHERE 0", nil
	}
	return "SELECT * FROM values('kill_status String, query_id String, user String, query String', " + strings.Join(rows, ", ") + ")", nil
}

// awaitEnd waits until a run has ended, asking for it again and again.
func (s *Session) awaitEnd(victim *Run) {
	deadline := time.Now().Add(killWait)
	for time.Now().Before(deadline) {
		if s.eng.reg.running()[victim.s.tag] != victim {
			return
		}
		s.eng.kill(victim.s.tag)
		time.Sleep(10 * time.Millisecond)
	}
}
