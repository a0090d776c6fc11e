package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// ServerInfo is what the server that we are connected to says of itself and of us.
type ServerInfo struct {
	Name, Version, Cluster string
	User                   string
	Permissions            Permissions
	// Offset of its clock to ours, known to within Within.
	Offset, Within time.Duration
}

// Permissions of our user; the zero value allows everything.
type Permissions struct {
	Publish   Permission `json:"publish"`
	Subscribe Permission `json:"subscribe"`
}

// Permission lists subjects. Without Allow everything is allowed that Deny does not name.
type Permission struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny"`
}

// Allows reports whether all subjects under the filter may be used.
func (p Permission) Allows(filter string) bool {
	all := func(f string) bool { return covers(subjectOf(f), filter) }
	some := func(f string) bool { return overlap(subjectOf(f), filter) }
	return (len(p.Allow) == 0 || slices.ContainsFunc(p.Allow, all)) && !slices.ContainsFunc(p.Deny, some)
}

// subjectOf is a permission without the queue's name that may stand behind it.
func subjectOf(permission string) string {
	subject, _, _ := strings.Cut(permission, " ")
	return subject
}

// covers reports whether every subject under the filter lies under the other one too.
func covers(wide, filter string) bool {
	wt, ft := strings.Split(wide, "."), strings.Split(filter, ".")
	for i, w := range wt {
		switch {
		case i >= len(ft):
			return false
		case w == ">":
			return true
		case ft[i] == ">" || w != "*" && w != ft[i]:
			return false
		}
	}
	return len(wt) == len(ft)
}

// Lacks are those of the services' rights that these permissions of ours do not have, in words.
func (b *Bus) Lacks(p Permissions, services ...string) []string {
	var out []string
	add := func(may Permission, what, subject string) {
		if text := what + subject; !may.Allows(subject) && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	for _, svc := range services {
		d, _ := DutyOf(svc)
		r := d.Rights()
		for _, s := range r.Publish {
			add(p.Publish, "publish to ", s)
		}
		for _, s := range r.Subscribe {
			if s == inboxOf(d.User)+".>" { // one user may do the duties of several
				s = b.cfg.inbox() + ".>"
			}
			add(p.Subscribe, "subscribe to ", s)
		}
	}
	return out
}

// subjectUserInfo is answered by the server itself, for the user that asks.
const subjectUserInfo = "$SYS.REQ.USER.INFO"

// userInfoWithin is short: the server answers by itself.
const userInfoWithin = 3 * time.Second

// ErrNoUserInfo says that the server does not tell what we may do: we may not ask, or it has no system account.
var ErrNoUserInfo = errors.New("the server does not say what this user may do")

// Server asks the server that we are connected to about itself and about our user.
func (b *Bus) Server(ctx context.Context) (ServerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, userInfoWithin)
	defer cancel()
	asked := time.Now()
	var resp *nats.Msg
	err := b.asking(ctx, func(ctx context.Context) (err error) {
		resp, err = b.nc.RequestWithContext(ctx, subjectUserInfo, nil)
		return err
	}, subjectUserInfo)
	_, denied := errors.AsType[*DeniedError](err)
	if denied || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) {
		return ServerInfo{Name: b.nc.ConnectedServerName(), Version: b.nc.ConnectedServerVersion(), Cluster: b.nc.ConnectedClusterName()}, fmt.Errorf("%w: %w", ErrNoUserInfo, err)
	}
	if err != nil {
		return ServerInfo{}, fmt.Errorf("ask the server about our user: %w", err)
	}
	answered := time.Now()
	var ans struct {
		Server struct {
			Name    string    `json:"name"`
			Version string    `json:"ver"`
			Cluster string    `json:"cluster"`
			Time    time.Time `json:"time"`
		} `json:"server"`
		Data struct {
			User        string      `json:"user"`
			Permissions Permissions `json:"permissions"`
		} `json:"data"`
	}
	if err := json.Unmarshal(resp.Data, &ans); err != nil {
		return ServerInfo{}, fmt.Errorf("ask the server about our user: %w", err)
	}
	s := ServerInfo{Name: ans.Server.Name, Version: ans.Server.Version, Cluster: ans.Server.Cluster, User: ans.Data.User, Permissions: ans.Data.Permissions}
	if ans.Server.Time.IsZero() {
		return s, fmt.Errorf("%w: the answer has no time", ErrNoUserInfo)
	}
	s.Offset, s.Within = offset(asked, answered, ans.Server.Time)
	return s, nil
}

// offset of a clock that was read between two moments of ours.
func offset(asked, answered, theirs time.Time) (by, within time.Duration) {
	within = answered.Sub(asked) / 2
	return theirs.Sub(asked.Add(within)), within
}

// StreamView is a stream as it stands, held against what this configuration declares.
type StreamView struct {
	Info
	// Exists is false for a stream that nobody has declared yet.
	Exists      bool
	Differences []Difference
	// Behind are the replicas that are not current, offline or behind.
	Behind []string
	// Offset of the clock of the server that leads the stream to ours, known to within Within.
	Offset, Within time.Duration
}

// Difference is a setting of a stream that is not as it is declared.
type Difference struct {
	Setting, Is, Declared string
	// Grave: the promise does not hold with it. Others mean room and safety that differ from what is configured.
	Grave bool
}

// View looks at a stream and changes nothing.
func (b *Bus) View(ctx context.Context, stream market.Stream) (StreamView, error) {
	d, ok := declarationOf(stream)
	if !ok {
		return StreamView{}, fmt.Errorf("look at stream %s: %w", stream, ErrNoStream)
	}
	asked := time.Now()
	s, err := b.stream(ctx, string(stream))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return StreamView{Info: Info{Stream: stream}}, nil
	}
	if err != nil {
		return StreamView{}, fmt.Errorf("look at stream %s: %w", stream, err)
	}
	answered := time.Now()
	i := s.CachedInfo()
	want := b.declaration(d)
	want.SubjectTransform = d.transform(b.cfg.Shards[stream])
	v := StreamView{Info: infoOf(stream, i), Exists: true, Differences: differences(i.Config, want)}
	v.Offset, v.Within = offset(asked, answered, i.TimeStamp)
	if c := i.Cluster; c != nil {
		for _, r := range c.Replicas {
			if r.Offline || !r.Current {
				v.Behind = append(v.Behind, r.Name)
			}
		}
	}
	return v, nil
}

// differences of a stream's configuration from its declaration.
func differences(is, want jetstream.StreamConfig) []Difference {
	var out []Difference
	differ := func(grave bool, setting string, is, declared any) {
		if a, b := fmt.Sprint(is), fmt.Sprint(declared); a != b {
			out = append(out, Difference{setting, a, b, grave})
		}
	}
	limit := func(n int64) int64 { return max(n, 0) } // -1 and 0 both mean none
	sorted := func(s []string) string { return strings.Join(slices.Sorted(slices.Values(s)), " ") }
	differ(true, "subjects", sorted(is.Subjects), sorted(want.Subjects))
	differ(true, "retention", is.Retention, want.Retention)
	differ(true, "storage", is.Storage, want.Storage)
	differ(true, "discard", is.Discard, want.Discard)
	differ(true, "max_msgs", limit(is.MaxMsgs), limit(want.MaxMsgs))
	differ(true, "max_msgs_per_subject", limit(is.MaxMsgsPerSubject), limit(want.MaxMsgsPerSubject))
	differ(true, "max_msg_size", limit(int64(is.MaxMsgSize)), limit(int64(want.MaxMsgSize)))
	differ(true, "no_ack", is.NoAck, want.NoAck)
	differ(true, "sealed", is.Sealed, want.Sealed)
	differ(true, "persist_mode", is.PersistMode, want.PersistMode)
	differ(is.Duplicates < want.Duplicates, "duplicate_window", is.Duplicates, want.Duplicates)
	differ(is.MaxAge > 0 && want.MaxAge == 0, "max_age", is.MaxAge, want.MaxAge)
	differ(false, "replicas", is.Replicas, want.Replicas)
	differ(false, "max_bytes", limit(is.MaxBytes), limit(want.MaxBytes))
	differ(false, "allow_direct", is.AllowDirect, want.AllowDirect)
	differ(false, "shards", max(shardsOf(is.SubjectTransform), 1), max(shardsOf(want.SubjectTransform), 1))
	return out
}

// tell is a list of differences as a sentence has it.
func tell(all []Difference) string {
	out := make([]string, len(all))
	for i, d := range all {
		out[i] = d.String()
	}
	return strings.Join(out, "; ")
}

func (d Difference) String() string {
	return fmt.Sprintf("%s is %s, not %s", d.Setting, d.Is, d.Declared)
}

// Progress is how far a stream, or a shard of one, has landed.
type Progress struct {
	Stream market.Stream
	Shard  Shard
	// Messages that are stored and are not known to have landed; Events of them, as far as they were counted: Least tells that there are more.
	Messages, Events uint64
	Least            bool
	// Since is when JetStream stored the oldest of them; zero: all has landed.
	Since time.Time
}

// countMost bounds for how many messages the events are counted.
const countMost = 2000

// Progress looks at a stream that Info or View has just told, shard by shard where it is or was cut.
func (b *Bus) Progress(ctx context.Context, info Info) ([]Progress, error) {
	cuts, err := b.Cuts(ctx, info.Stream)
	if err != nil {
		return nil, err
	}
	shards := []Shard{{}}
	for _, c := range cuts {
		for i := range c.Of {
			shards = append(shards, Shard{c.Of, i})
		}
	}
	var out []Progress
	for _, s := range shards {
		p, err := b.progress(ctx, info, s, len(cuts) > 0)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (b *Bus) progress(ctx context.Context, info Info, shard Shard, cut bool) (Progress, error) {
	p := Progress{Stream: info.Stream, Shard: shard}
	l, ok, err := b.landing(ctx, info.Stream, shard)
	if err != nil {
		return p, err
	}
	next := max(info.FirstSeq, 1)
	if ok && l.Created == info.Created.UnixNano() {
		next = max(l.First, next)
	}
	if next > info.LastSeq {
		return p, nil
	}
	if cut { // what lies behind the record may be other shards' alone
		if _, some, err := b.NextStored(ctx, info.Stream, shard, next); err != nil || !some {
			return p, err
		}
	}
	from := scanFrom{seq: next, headers: true}
	if cut {
		from.shard = &shard
	}
	r, err := b.reader(ctx, info.Stream, from)
	if err != nil {
		return p, err
	}
	defer r.Close()
	p.Messages = r.Pending()
	for left := min(r.Pending(), countMost); left > 0; left-- {
		m, err := r.Next(ctx)
		if err != nil {
			return p, err
		}
		if p.Since.IsZero() {
			p.Since = m.Time
		}
		p.Events += uint64(cmp.Or(m.Events, 1))
	}
	p.Least = p.Messages > countMost
	return p, nil
}

// Storage is what JetStream keeps for our account, and may keep; Most 0: the servers' own limit.
type Storage struct{ Used, Most uint64 }

// Storage asks for the room that JetStream has for us.
func (b *Bus) Storage(ctx context.Context) (Storage, error) {
	var info *jetstream.AccountInfo
	err := b.asking(ctx, func(ctx context.Context) (err error) {
		info, err = b.js.AccountInfo(ctx)
		return err
	}, api+"INFO")
	if err != nil {
		return Storage{}, fmt.Errorf("ask JetStream for our account: %w", err)
	}
	return Storage{info.Store, uint64(max(info.Limits.MaxStore, 0))}, nil
}
