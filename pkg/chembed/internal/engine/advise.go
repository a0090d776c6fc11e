package engine

import (
	"regexp"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/libchdb"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/sqltext"
)

// advice says what to do instead of what the engine cannot do here.
var advice = []struct {
	text *regexp.Regexp // of the statement
	code int            // of the engine's error; 0: any
	say  string
}{
	{regexp.MustCompile(`(?i)^\s*(CREATE|ALTER|DROP)\s+(OR\s+REPLACE\s+)?USER\b`), 0, "An embedded ClickHouse takes its users from its configuration: Config.Users, or clickhouse.server.users of hashpivot."},
	{regexp.MustCompile(`(?i)^\s*(CREATE|ALTER|DROP)\s+(OR\s+REPLACE\s+)?QUOTA\b`), 0, "An embedded ClickHouse takes quotas from its configuration: Quotas of a user in Config.Users, or clickhouse.server.users of hashpivot."},
	{regexp.MustCompile(`(?i)^\s*(CREATE|ALTER|DROP)\s+(OR\s+REPLACE\s+)?(SETTINGS\s+)?PROFILE\b`), 0, "An embedded ClickHouse takes settings and their bounds from its configuration: Settings and Bounds of a user in Config.Users, or clickhouse.server.users of hashpivot."},
	{regexp.MustCompile(`(?i)^\s*(GRANT|REVOKE)\b`), 0, "An embedded ClickHouse has no grants: ReadOnly and Databases of a user in Config.Users, or clickhouse.server.users of hashpivot, say what a user may do."},
	{regexp.MustCompile(`(?i)^\s*((CREATE|ALTER|DROP)\s+(OR\s+REPLACE\s+)?(ROW\s+POLICY|POLICY)|(CREATE|ALTER|DROP|SET|SET\s+DEFAULT)\s+ROLE)\b`), 497, "An embedded ClickHouse has no roles and row policies: give each user a database of views, and Databases in Config.Users, or clickhouse.server.users of hashpivot."},
	{regexp.MustCompile(`(?i)\bON\s+CLUSTER\b`), 0, "An embedded ClickHouse is one server: leave ON CLUSTER out, or connect to a cluster of ClickHouse servers."},
	{regexp.MustCompile(`(?i)\bENGINE\s*=\s*NATS\b`), 0, "The NATS engine is not in this library: let hashpivot's lander write from NATS into tables, or connect to a ClickHouse server."},
	{regexp.MustCompile(`(?i)\b(cluster|clusterAllReplicas)\s*\(`), 0, "An embedded ClickHouse has no clusters: read the table itself."},
}

// advise adds to an error of the engine what to do instead, where that is known. The code stays the engine's.
func (e *Engine) advise(st sqltext.Statement, err error) error {
	x := AsException(err)
	text := st.Text
	if len(text) > 4096 {
		text = text[:4096]
	}
	for _, a := range advice {
		if (a.code == 0 || a.code == x.Code) && cannot[x.Code] && a.text.MatchString(text) {
			return &libchdb.Error{Code: x.Code, Name: x.Name, Text: strings.TrimRight(x.Text, ". ") + ". " + a.say}
		}
	}
	return err
}

// cannot are the codes with which the engine refuses what it has not got: a mistake in such a statement keeps its own message.
var cannot = map[int]bool{
	48: true, 56: true, 139: true, 170: true, 344: true, 392: true, 495: true, 497: true, 514: true, 718: true, 701: true,
}
