package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
)

// NATS is where the streams are.
type NATS struct {
	services []string
	conn     *lazily[*bus.Bus]
	server   *lazily[bus.ServerInfo]
}

// NewNATS looks at the NATS of the configuration, for what these services do with it. Close it.
func NewNATS(cfg bus.Config, services ...string) *NATS {
	cfg.LookOnly = true
	conn := newLazily(func(context.Context) (*bus.Bus, error) {
		return bus.Connect(cfg, nil, slog.New(slog.DiscardHandler))
	})
	return &NATS{services, conn, newLazily(func(ctx context.Context) (bus.ServerInfo, error) {
		b, err := conn.get(ctx)
		if err != nil {
			return bus.ServerInfo{}, err
		}
		return b.Server(ctx)
	})}
}

// Close ends the connection, if one was made.
func (n *NATS) Close() {
	n.server.done()
	n.conn.done()
	if n.conn.value != nil {
		n.conn.value.Close()
	}
}

// with has a check look through the connection. That there is none is told by Reached alone.
func (n *NATS) with(look func(ctx context.Context, b *bus.Bus) []Finding) func(context.Context) []Finding {
	return func(ctx context.Context) []Finding {
		b, err := n.conn.get(ctx)
		if err != nil || b == nil {
			return []Finding{skip("NATS is not reached")}
		}
		return look(ctx, b)
	}
}

func one(f Finding) []Finding { return []Finding{f} }

// Reached says whether NATS is there, and its clock right.
func (n *NATS) Reached() Check {
	return Check{"nats", func(ctx context.Context) []Finding {
		if _, err := n.conn.get(ctx); err != nil {
			return one(fail("do as it says, and ask again", "%s", err))
		}
		s, err := n.server.get(ctx)
		if err != nil && !errors.Is(err, bus.ErrNoUserInfo) {
			return one(fail("is the server overloaded? see its log", "%s", err))
		}
		where := "server " + s.Name
		if s.Cluster != "" {
			where += " of cluster " + s.Cluster
		}
		return one(okay("%s, version %s", where, s.Version))
	}}
}

// Clock holds NATS's clocks against ours: that of the server that we are connected to, and those of the streams' leaders. Services that publish do not start beyond most.
func (n *NATS) Clock(most time.Duration) Check {
	return Check{"nats clock", n.with(func(ctx context.Context, b *bus.Bus) []Finding {
		s, err := n.server.get(ctx)
		known, offset, within := err == nil, s.Offset, s.Within
		for _, st := range streamsOf(n.services) {
			v, err := b.View(ctx, st)
			if err != nil || !v.Exists {
				continue
			}
			if !known || v.Offset.Abs()-v.Within > offset.Abs()-within {
				known, offset, within = true, v.Offset, v.Within
			}
		}
		if !known {
			return one(skip("neither the server nor a stream tells its time"))
		}
		return one(clock("NATS", offset, within, most))
	})}
}

// Permissions says whether our user may do what the services need.
func (n *NATS) Permissions() Check {
	return Check{"nats permissions", n.with(func(ctx context.Context, b *bus.Bus) []Finding {
		s, err := n.server.get(ctx)
		if err != nil {
			return one(skip("%s; allow the user to publish to $SYS.REQ.USER.INFO, and this can be told", err))
		}
		who := "the user " + s.User
		if s.User == "" {
			who = "whoever connects"
		}
		if lacks := b.Lacks(s.Permissions, n.services...); len(lacks) > 0 {
			const most = 6
			more := ""
			if len(lacks) > most {
				more, lacks = fmt.Sprintf(" and %d more", len(lacks)-most), lacks[:most]
			}
			return one(fail("give it its rights: hashpivot nats-users prints what each service's user needs", "%s may not %s%s", who, strings.Join(lacks, ", "), more))
		}
		return one(okay("%s may do what %s needs", who, strings.Join(n.services, ", ")))
	})}
}

// fullWarn and fullFail are how full a stream may be: a full one refuses, and feeds stand still.
const (
	fullWarn = 0.8
	fullFail = 0.95
)

// Streams says whether the streams are as this configuration declares them, how full they are, and whether their replicas are there.
func (n *NATS) Streams() Check {
	return Check{"streams", n.with(func(ctx context.Context, b *bus.Bus) []Finding {
		streams := streamsOf(n.services)
		views := make([]bus.StreamView, len(streams))
		g, gctx := errgroup.WithContext(ctx)
		for i, st := range streams {
			g.Go(func() (err error) {
				views[i], err = b.View(gctx, st)
				return err
			})
		}
		err := g.Wait()
		if _, denied := errors.AsType[*bus.DeniedError](err); denied {
			return one(skip("%s", err))
		}
		if err != nil {
			return one(fail("is JetStream on, for this account? nats-server wants jetstream {} in its configuration", "%s", err))
		}
		var out []Finding
		var missing []string
		var bytes uint64
		for _, v := range views {
			if !v.Exists {
				missing = append(missing, string(v.Stream))
				continue
			}
			bytes += v.Bytes
			out = append(out, judge(v)...)
		}
		switch {
		case len(missing) == len(views):
			return one(okay("none is declared yet: the first start of a service does"))
		case len(missing) > 0:
			out = append(out, warn("start the lander, or run hashpivot migrate: they declare them; the lander tells what is lost of one that was deleted",
				"not declared: %s", strings.Join(missing, ", ")))
		case len(out) == 0:
			return one(okay("%d as they are declared, %d MB", len(views), bytes/1e6))
		}
		return out
	})}
}

// judge is what is wrong with one stream.
func judge(v bus.StreamView) (out []Finding) {
	var grave, other []string
	for _, d := range v.Differences {
		if d.Grave {
			grave = append(grave, d.String())
		} else {
			other = append(other, d.String())
		}
	}
	if len(grave) > 0 {
		out = append(out, fail("somebody else has changed it, and the promise does not hold so; hashpivot migrate sets it again where JetStream can, else move the stream away (nats stream backup) and delete it",
			"%s: %s", v.Stream, strings.Join(grave, "; ")))
	}
	if len(other) > 0 {
		out = append(out, warn("configure all services alike (nats.*); hashpivot migrate sets the stream to what it is told", "%s: %s", v.Stream, strings.Join(other, "; ")))
	}
	if v.MaxBytes > 0 {
		full := float64(v.Bytes) / float64(v.MaxBytes)
		say := fmt.Sprintf("%s is full to %.0f %% of %d MB", v.Stream, 100*full, v.MaxBytes/1e6)
		const fix = "raise nats.max_bytes, and the server's max_file_store; a full stream refuses"
		switch {
		case full >= fullFail:
			out = append(out, fail(fix, "%s", say))
		case full >= fullWarn:
			out = append(out, warn(fix, "%s", say))
		}
	}
	if len(v.Behind) > 0 {
		out = append(out, warn("see to those servers: with one more away the stream stands still", "%s: replicas not current: %s", v.Stream, strings.Join(v.Behind, ", ")))
	}
	return out
}

// Storage says how much room JetStream has for us.
func (n *NATS) Storage() Check {
	return Check{"nats storage", n.with(func(ctx context.Context, b *bus.Bus) []Finding {
		s, err := b.Storage(ctx)
		if err != nil {
			return one(skip("%s", err))
		}
		say := fmt.Sprintf("%s used", gigabytes(s.Used))
		if s.Most == 0 {
			return one(okay("%s; the account has no limit of its own", say))
		}
		say += fmt.Sprintf(" of %s (%.0f %%)", gigabytes(s.Most), percent(s.Used, s.Most))
		const fix = "raise the account's max_file_store: without room every stream refuses"
		switch {
		case float64(s.Used) >= fullFail*float64(s.Most):
			return one(fail(fix, "%s", say))
		case float64(s.Used) >= fullWarn*float64(s.Most):
			return one(warn(fix, "%s", say))
		}
		return one(okay("%s", say))
	})}
}

// Sync says how the server syncs what it acknowledges. known is what the embedded server was started with, empty for one of your own: that tells it on its monitoring
// port only.
func (n *NATS) Sync(known string, monitors []string) Check {
	return Check{"nats sync", func(ctx context.Context) []Finding {
		const fix = "set sync_interval: always (embedded: nats.sync): otherwise a power cut loses what was acknowledged, and the lander then refuses the stream"
		if known != "" {
			if known != "always" {
				return one(warn(fix, "the embedded server syncs every %s", known))
			}
			return one(okay("before every acknowledgement"))
		}
		if len(monitors) == 0 {
			return one(skip("a server does not tell it over NATS: give its monitoring address by --nats-monitor http://host:8222, each server's"))
		}
		for _, m := range monitors {
			s, err := monitored(ctx, m)
			switch {
			case err != nil:
				return one(fail("give the address of the server's http: or http_port:", "%s", err))
			case !s.JetStream.Config.SyncAlways:
				return one(warn(fix, "%s syncs every %s", s.Name, s.JetStream.Config.SyncInterval))
			}
		}
		return one(okay("before every acknowledgement"))
	}}
}

// varz is what of a server's monitoring is of use.
type varz struct {
	Name      string `json:"server_name"`
	JetStream struct {
		Config struct {
			SyncInterval time.Duration `json:"sync_interval"`
			SyncAlways   bool          `json:"sync_always"`
		} `json:"config"`
	} `json:"jetstream"`
}

func monitored(ctx context.Context, base string) (v varz, _ error) {
	resp, err := feed.Call(ctx, http.DefaultClient, feed.Request{URL: strings.TrimSuffix(base, "/") + "/varz", Limit: 1 << 20})
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(resp.Body, &v); err != nil {
		return v, fmt.Errorf("read %s/varz: %w", base, err)
	}
	return v, nil
}

// Deployment says whether NATS, the database and the configuration belong together. mode is the configuration's.
func Deployment(n *NATS, c *ClickHouse, mode string) Check {
	return Check{"deployment", n.with(func(ctx context.Context, b *bus.Bus) []Finding {
		was, rev, err := b.Cell("mode").Get(ctx)
		if err != nil {
			return one(fail("may this user read the bucket hashpivot?", "%s", err))
		}
		if rev != 0 && string(was) != mode {
			return one(fail("set mode: "+string(was)+", or nats.url to another NATS: kinds of data never mix", "this NATS holds %s data, and the configuration's mode is %s", was, mode))
		}
		if c == nil {
			return one(okay("mode %s; the database is not this service's", mode))
		}
		st, err := c.tables.get(ctx)
		if err != nil {
			return one(skip("ClickHouse is not reached"))
		}
		id, err := st.Deployment(ctx)
		if _, spoken := store.Code(err); err != nil && !spoken {
			return one(skip("ClickHouse is not reached"))
		}
		if err != nil {
			return one(skip("the database has no identity yet; hashpivot migrate makes it"))
		}
		streams := streamsOf(n.services)
		bad, unknown := make([]*Finding, len(streams)), make([]string, len(streams))
		var g errgroup.Group
		g.SetLimit(4)
		for i, s := range streams {
			g.Go(func() error {
				bad[i], unknown[i] = landsHere(ctx, b, st, s, id)
				return nil
			})
		}
		_ = g.Wait() // none fails
		for _, f := range bad {
			if f != nil {
				return one(*f)
			}
		}
		slices.Sort(unknown)
		if why := strings.Join(slices.DeleteFunc(slices.Compact(unknown), func(s string) bool { return s == "" }), "; "); why != "" {
			return one(warn("run the doctor again when the load is less", "%s", why))
		}
		return one(okay("mode %s, database %s", mode, id))
	})}
}

// landsHere finds signs of another deployment in a stream's record of landing and in its rows; unknown says what could not be looked at.
func landsHere(ctx context.Context, b *bus.Bus, st *store.Store, stream market.Stream, id string) (bad *Finding, unknown string) {
	const two = "two deployments share a cluster: give each a NATS (or account) and a database of its own, and correct nats.url or clickhouse.addr and clickhouse.database here"
	data, rev, err := b.Cell(bus.LandingKey(stream, bus.Shard{})).Get(ctx)
	if err != nil {
		return nil, "the records of landing cannot be read"
	}
	var rec struct {
		bus.Landing
		Database string `json:"database"`
	}
	if rev != 0 && json.Unmarshal(data, &rec) == nil && rec.Database != "" && rec.Database != id {
		f := fail(two, "%s of this NATS lands into database %s, and this is %s", stream, rec.Database, id)
		return &f, ""
	}
	info, err := b.Info(ctx, stream)
	if errors.Is(err, bus.ErrNoStream) {
		return nil, ""
	}
	if err != nil {
		return nil, "the streams cannot be read"
	}
	at, ok, err := b.Landing(ctx, stream)
	switch {
	case err != nil:
		return nil, "the records of landing cannot be read"
	case !ok && rev == 0:
		top, err := st.Top(ctx, stream, time.Time{})
		if err != nil {
			return nil, "the tables cannot be read in time"
		}
		if top.Seq > 0 {
			f := fail(two+"; if the NATS that the rows came from is gone for good: hashpivot adopt", "the database has rows of %s, and this NATS has landed none", stream)
			return &f, ""
		}
	case at.Created == info.Created.UnixNano():
		rows, top, err := st.Beyond(ctx, stream, info.Created, at.Last)
		if err != nil {
			return nil, "the tables cannot be read in time"
		}
		if rows == 0 {
			return nil, ""
		}
		// A lander writes the record before the rows, so it may have moved on since.
		if again, ok, err := b.Landing(ctx, stream); err != nil || !ok || top > again.Last {
			f := fail(two+"; or NATS was restored from an old backup: the lander's log says what then", "the database has rows of %s up to sequence %d, which this NATS has not landed", stream, top)
			return &f, ""
		}
	}
	return nil, ""
}
