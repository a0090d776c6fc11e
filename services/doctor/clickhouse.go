package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// ClickHouse is where the tables are.
type ClickHouse struct {
	cfg            store.Config
	server, tables *lazily[*store.Store]
}

// NewClickHouse looks at the ClickHouse of the configuration. Close it.
func NewClickHouse(cfg store.Config) *ClickHouse {
	open := func(cfg store.Config) *lazily[*store.Store] {
		return newLazily(func(ctx context.Context) (*store.Store, error) {
			return store.Open(ctx, cfg, slog.New(slog.DiscardHandler))
		})
	}
	return &ClickHouse{cfg: cfg, server: open(cfg.Anywhere()), tables: open(cfg)}
}

// Close ends the connections.
func (c *ClickHouse) Close() error {
	var errs []error
	for _, l := range []*lazily[*store.Store]{c.server, c.tables} {
		l.done()
		if l.value != nil {
			errs = append(errs, l.value.Close())
		}
	}
	return errors.Join(errs...)
}

// Reached says whether ClickHouse is there.
func (c *ClickHouse) Reached() Check {
	return Simple("clickhouse", func(ctx context.Context) Finding {
		s, err := c.ask(ctx)
		if err != nil {
			return fail(advice(err), "%s", err)
		}
		return okay("version %s", s.Version)
	})
}

// Clock holds its clock against ours.
func (c *ClickHouse) Clock() Check {
	return Simple("clickhouse clock", func(ctx context.Context) Finding {
		s, err := c.ask(ctx)
		if err != nil {
			return skip("ClickHouse is not reached")
		}
		return clock("ClickHouse", s.Offset, s.Within, clockMost)
	})
}

func (c *ClickHouse) ask(ctx context.Context) (store.Server, error) {
	st, err := c.server.get(ctx)
	if err != nil {
		return store.Server{}, err
	}
	return st.Server(ctx)
}

// advice says what to do about an error of connecting.
func advice(err error) string {
	code, _ := store.Code(err)
	switch {
	case code == 516, code == 193, code == 194: // AUTHENTICATION_FAILED, WRONG_PASSWORD, REQUIRED_PASSWORD
		return "correct clickhouse.user and clickhouse.password"
	case strings.Contains(err.Error(), "x509"), strings.Contains(err.Error(), "tls:"):
		return "see to the server's certificate, clickhouse.tls and clickhouse.ca_file"
	case store.IsOverload(err):
		return "the server has too much to do: see its system.processes"
	}
	return "start ClickHouse, or correct clickhouse.addr (the native protocol's port, 9000 or with TLS 9440); is a firewall between?"
}

// Disks says how much room the server's disks have.
func (c *ClickHouse) Disks() Check {
	return Check{"clickhouse disk", func(ctx context.Context) []Finding {
		st, err := c.server.get(ctx)
		if err != nil {
			return one(skip("ClickHouse is not reached"))
		}
		disks, err := st.Disks(ctx)
		if _, spoken := store.Code(err); err != nil && !spoken {
			return one(skip("ClickHouse is not reached"))
		}
		if err != nil {
			return one(skip("%s", firstLine(err)))
		}
		var out []Finding
		for _, d := range disks {
			f := room(d.Free, d.Total, 0, 0, 0)
			f.Detail = d.Name + ": " + f.Detail
			if f.State != OK {
				f.Fix = "make room on the server's disk, or drop what is old: a full disk refuses inserts, and the streams fill up"
			}
			out = append(out, f)
		}
		return out
	}}
}

// Schema says whether the tables are this binary's.
func (c *ClickHouse) Schema() Check {
	return Simple("schema", func(ctx context.Context) Finding {
		st, err := c.tables.get(ctx)
		if err != nil {
			return skip("ClickHouse is not reached")
		}
		is, ours, err := st.Schema(ctx)
		if _, spoken := store.Code(err); err != nil && !spoken {
			return skip("ClickHouse is not reached")
		}
		const migrate = "run hashpivot migrate (up and the lander do it by themselves)"
		switch {
		case err != nil:
			return fail("may this user read goose_db_version?", "%s", err)
		case is == 0:
			return fail(migrate, "database %s has no tables of ours yet", c.cfg.Database)
		case is < ours:
			return fail(migrate+"; make a backup before", "database %s is at %d, this binary is at %d", c.cfg.Database, is, ours)
		case is > ours:
			return fail("run the newer hashpivot, or restore the backup that was made before the upgrade: there is no way down",
				"database %s is at %d, this binary knows up to %d", c.cfg.Database, is, ours)
		}
		return okay("database %s is at %d, as this binary is", c.cfg.Database, is)
	})
}

// Grants says whether our user may do what the services need: rows are put into tables, none each, and read.
func (c *ClickHouse) Grants(services ...string) Check {
	return Simple("clickhouse grants", func(ctx context.Context) Finding {
		st, err := c.tables.get(ctx)
		if err != nil {
			return skip("ClickHouse is not reached")
		}
		is, _, err := st.Schema(ctx)
		if _, spoken := store.Code(err); err != nil && !spoken {
			return skip("ClickHouse is not reached")
		}
		if err != nil {
			return fail("see the user's profile (readonly 1 forbids even our settings; 2 is for who only reads) and its grants", "user %s may not read: %s", c.cfg.User, firstLine(err))
		}
		if is == 0 {
			return skip("there are no tables to try it on yet")
		}
		var written []string // that the services add rows to
		for _, s := range services {
			g, _ := store.GrantOf(s)
			written = append(written, g.Inserts...)
		}
		tables := slices.Clone(written)
		for _, s := range market.Streams() {
			tables = append(tables, store.Tables(s)...)
		}
		slices.Sort(tables)
		tables = slices.Compact(tables)
		refused := make([]error, len(tables))
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(4)
		for i, t := range tables {
			g.Go(func() error {
				try := st.Reads
				if slices.Contains(written, t) {
					try = st.Writes
				}
				err := try(gctx, t)
				if _, spoken := store.Code(err); err != nil && !spoken {
					return err
				}
				refused[i] = err
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return skip("ClickHouse is not reached: %s", err)
		}
		var lacks []string
		for i, err := range refused {
			if err != nil {
				lacks = append(lacks, tables[i])
			}
		}
		verb := "read"
		if len(written) > 0 {
			verb = "write"
		}
		if len(lacks) > 0 {
			why := ""
			if err := errors.Join(refused...); err != nil {
				why = ": " + firstLine(err)
			}
			return fail(fmt.Sprintf("grant it, as the server's administrator: hashpivot clickhouse-users --database %s has what each user needs; of the embedded one, see readonly in clickhouse.server.users", c.cfg.Database),
				"user %s may not %s: %s%s", c.cfg.User, verb, strings.Join(lacks, ", "), why)
		}
		return okay("user %s may %s what its services need, of %d tables", c.cfg.User, verb, len(tables))
	})
}

// A replica that is further behind than this is told of; and that it fails.
const (
	replicaLags   = time.Minute
	replicaFailed = 10 * time.Minute
)

// Replicas says whether those of clickhouse.addr are all of one shard's, take rows, and are not behind; of a replicated database.
func (c *ClickHouse) Replicas() Check {
	return Check{"clickhouse replicas", func(ctx context.Context) []Finding {
		st, err := c.tables.get(ctx)
		if err != nil {
			return one(skip("ClickHouse is not reached"))
		}
		var out []Finding
		known, shards, names := 0, map[string]bool{}, map[string]bool{}
		for _, r := range st.Replicas(ctx) {
			out = append(out, c.replica(r))
			if r.Err == nil {
				known++
				shards[r.Shard], names[r.Name] = true, true
			}
		}
		if len(shards) > 1 {
			out = append(out, fail("name the replicas of one shard in clickhouse.addr", "clickhouse.addr names servers of %d shards", len(shards)))
		}
		if len(names) < known {
			out = append(out, fail("give each server a macro replica of its own, and name each once in clickhouse.addr", "%d servers of clickhouse.addr are %d replicas", known, len(names)))
		}
		return out
	}}
}

func (c *ClickHouse) replica(r store.Replica) Finding {
	const lost = "see to the server; landing goes on while a quorum of replicas lives (clickhouse.insert_quorum)"
	const keeper = "see to its connection to Keeper, then SYSTEM RESTART REPLICAS there; landing goes on by the others"
	switch _, spoken := store.Code(r.Err); {
	case spoken:
		return fail("run hashpivot migrate, which makes the database on a replica that has none", "%s: %s", r.Addr, firstLine(r.Err))
	case r.Err != nil:
		return fail(lost, "%s: %s", r.Addr, firstLine(r.Err))
	case r.Total == 0:
		return skip("%s: there are no replicated tables yet", r.Addr)
	case len(r.ReadOnly) > 0:
		return fail(keeper, "%s: %d tables take no rows: %s", r.Addr, len(r.ReadOnly), strings.Join(r.ReadOnly, ", "))
	case r.Total != len(c.cfg.Addr):
		return fail("name every replica in clickhouse.addr, by an address of its own and not a balancer's; one that is gone for good: SYSTEM DROP REPLICA",
			"%s: the tables have %d replicas, clickhouse.addr names %d", r.Addr, r.Total, len(c.cfg.Addr))
	case r.Active < r.Total:
		return warn(lost, "%s: of %d replicas %d are active", r.Addr, r.Total, r.Active)
	case r.Delay >= replicaFailed:
		return fail("see system.replication_queue there", "%s: is %s behind", r.Addr, r.Delay)
	case r.Delay >= replicaLags:
		return warn("see system.replication_queue there, if it stays", "%s: is %s behind", r.Addr, r.Delay)
	}
	return okay("%s: replica %s of %d, %s behind", r.Addr, r.Name, r.Total, r.Delay)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	const most = 200
	if len(line) > most {
		line = line[:most] + "..."
	}
	return line
}
