package store

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Grant is what a service, or a person, may do in ClickHouse: the one place where that is said. Every one of them may read the database, but who looks at the server
// itself.
type Grant struct {
	// User is the name of the user, which is that of the service.
	User string
	// Does says what it is for, in a sentence.
	Does string
	// Inserts are the tables that it adds rows to.
	Inserts []string
	// Retires: it removes old rows of events.
	Retires bool
	// Owns: it makes and changes the tables, and fills those of reference.
	Owns bool
	// BacksUp: it may have the server write a backup.
	BacksUp bool
	// Profile of settings; empty: that of services, which may change settings.
	Profile Profile
	// Server: it reads what the server tells of itself, and no data.
	Server bool
}

// Profile is a profile of settings for who only reads.
type Profile string

// The profiles: of services that only read, and of people, who are bounded.
const (
	Reader Profile = "reader"
	Quant  Profile = "quant"
)

// eventTables are those that the lander fills.
func eventTables() []string {
	var out []string
	for _, s := range market.Streams() {
		out = append(out, Tables(s)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Grants lists all.
func Grants() []Grant {
	return []Grant{
		{User: "migrate", Does: "makes the database and its tables, and fills those of reference", Owns: true},
		{User: "lander", Does: "from the streams into the tables of events", Inserts: eventTables()},
		{User: "gateway", Does: "history for dashboards"}, // a profile that only reads would not let it bring a replica up to the others
		{User: "audit", Does: "compares what was published with what has landed, and removes what is old", Inserts: []string{"audits", "audit_ranges", "retirements"}, Retires: true},
		{User: "nightly", Does: "the research notebooks", Inserts: []string{"research_runs", "research_results"}},
		{User: "ops", Does: "the operator's commands", Inserts: []string{"audits", "audit_ranges", "retirements", "dead_marks"}, Retires: true},
		{User: "backup", Does: "the command backup", BacksUp: true},
		{User: "up", Does: "the command up against a server of its own: all services in one process", Owns: true, Inserts: eventTables(), Retires: true},
		{User: "quant", Does: "people who ask", Profile: Quant},
		{User: "metrics", Does: "what watches the server", Profile: Reader, Server: true},
	}
}

// GrantOf finds that of a service.
func GrantOf(user string) (Grant, bool) {
	for _, g := range Grants() {
		if g.User == user {
			return g, true
		}
	}
	return Grant{}, false
}

// serverTables tell of the server, and hold neither data of ours nor what anybody asks.
var serverTables = []string{"metrics", "events", "asynchronous_metrics", "errors", "disks", "parts", "merges", "mutations", "replicas"}

// Statements are the grants on the databases.
func (g Grant) Statements(databases ...string) []string {
	var out []string
	grant := func(what, on string) { out = append(out, "GRANT "+what+" ON "+on) }
	if g.Server {
		for _, t := range serverTables {
			grant("SELECT", "system."+t)
		}
		return out
	}
	for _, db := range databases {
		grant("SELECT", db+".*")
		if g.Profile == "" {
			grant("SYSTEM SYNC REPLICA", db+".*")
		}
		if g.Owns {
			grant("CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, ALTER TABLE, ALTER VIEW, INSERT", db+".*")
		} else {
			for _, t := range g.Inserts {
				grant("INSERT", db+"."+t)
			}
			if g.Retires {
				for _, t := range eventTables() {
					grant("ALTER DELETE", db+"."+t)
				}
			}
		}
		if g.BacksUp {
			grant("BACKUP", db+".*")
		}
	}
	if g.Retires || g.Owns || g.BacksUp {
		// Whether a mutation or a backup of theirs has ended, what parts there are, and what room.
		for _, t := range []string{"mutations", "parts", "backups", "disks"} {
			grant("SELECT", "system."+t)
		}
	}
	return out
}

// WriteUsers writes the users as a ClickHouse server's configuration reads them, to lie in users.d. variable names that of the server's environment which holds a
// user's password.
func WriteUsers(w io.Writer, databases []string, variable func(user string) string) error {
	var b strings.Builder
	b.WriteString(usersHead)
	for _, g := range Grants() {
		profile := "hashpivot"
		if g.Profile != "" {
			profile = string(g.Profile)
		}
		fmt.Fprintf(&b, "        <!-- %s: %s. -->\n        <%s>\n            <password from_env=%q/>\n            <networks>\n                <ip>::/0</ip>\n            </networks>\n", g.User, g.Does,
			g.User, variable(g.User))
		fmt.Fprintf(&b, "            <profile>%s</profile>\n            <quota>default</quota>\n            <grants>\n", profile)
		for _, s := range g.Statements(databases...) {
			fmt.Fprintf(&b, "                <query>%s</query>\n", s)
		}
		fmt.Fprintf(&b, "            </grants>\n        </%s>\n", g.User)
	}
	b.WriteString("    </users>\n</clickhouse>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

const usersHead = `<!-- Made by hashpivot clickhouse-users, laid over the image's users.xml. Passwords come from the server's environment. -->
<clickhouse>
    <profiles>
        <hashpivot>
            <!-- An insert is acknowledged when it is stored: what the lander's record says has landed must be there. -->
            <async_insert>0</async_insert>
            <!-- SELECT * has the columns of trades and quotes that are computed, too. -->
            <asterisk_include_alias_columns>1</asterisk_include_alias_columns>
            <max_memory_usage>4294967296</max_memory_usage>
        </hashpivot>
        <reader>
            <!-- Reads only; settings may be changed. -->
            <readonly>2</readonly>
            <asterisk_include_alias_columns>1</asterisk_include_alias_columns>
            <max_memory_usage>4294967296</max_memory_usage>
        </reader>
        <quant>
            <!-- Reads only; settings may be changed within the constraints. -->
            <readonly>2</readonly>
            <asterisk_include_alias_columns>1</asterisk_include_alias_columns>
            <max_memory_usage>2147483648</max_memory_usage>
            <max_execution_time>300</max_execution_time>
            <constraints>
                <max_memory_usage>
                    <max>4294967296</max>
                </max_memory_usage>
                <max_execution_time>
                    <min>1</min>
                    <max>3600</max>
                </max_execution_time>
            </constraints>
        </quant>
    </profiles>
    <users>
        <!-- The image's user without a password. -->
        <default remove="remove"/>
`
