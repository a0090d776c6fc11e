package bus

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hashpivot/hashpivot/pkg/market"
)

// Rights are the subjects that a user of NATS may use, and no others. Responds: it may answer, once, who asks it something.
type Rights struct {
	Publish, Subscribe []string
	Responds           bool
}

// respondWithin is for how long it may.
const respondWithin = 5 * time.Second

const (
	api       = "$JS.API."
	recordsKV = "KV_" + bucketName
	onceKV    = "KV_" + onceName
)

// Rights of the duty's user: what it publishes; what JetStream is asked for the streams and cells that it uses, and no others; and its own inbox, so that it
// cannot read what others are answered.
//
// There are no acknowledgements among them ($JS.ACK.<stream>... and, with nats-server's js_ack_fc_v2, $JS.ACK.<domain>.<account>.<stream>...): no consumer of ours
// acknowledges. Answers to flow control have both forms.
func (d Duty) Rights() Rights {
	r := Rights{Subscribe: []string{inboxOf(d.User) + ".>"}}
	add := func(subjects ...string) { r.Publish = append(r.Publish, subjects...) }
	// The server itself answers who we are and what we may.
	add("$SYS.REQ.USER.INFO")
	if d.Examines {
		add(subjectHealth, api+"INFO")
	} else {
		r.Subscribe, r.Responds = append(r.Subscribe, subjectHealth), true
	}
	for _, s := range d.Publishes {
		add(d.subjects(s)...)
		// Whether a message whose acknowledgement was lost is the last of its subject.
		add(api+"STREAM.INFO."+string(s), api+"DIRECT.GET."+string(s)+".>")
	}
	dead := api + "DIRECT.GET." + string(market.Dead) + "." + Prefix + "dead."
	if d.Rejects || d.Buries {
		add(api + "STREAM.INFO." + string(market.Dead))
	}
	if d.Rejects {
		add(Prefix+"dead."+market.Upstream+".*", dead+market.Upstream+".>")
	}
	if d.Buries {
		for _, s := range market.Streams() {
			add(Prefix+"dead."+string(s)+".*", dead+string(s)+".>")
		}
	}
	for _, s := range d.Reads {
		add(consumer(string(s), "", ".>")...)
		add(api+"CONSUMER.MSG.NEXT."+string(s)+".*", api+"DIRECT.GET."+string(s), api+"STREAM.INFO."+string(s))
	}
	if d.Asks {
		for _, s := range d.Reads {
			add(api + "STREAM.MSG.GET." + string(s))
		}
	}
	for _, s := range d.Copies {
		add(api+"STREAM.INFO."+string(s), api+"STREAM.SNAPSHOT."+string(s), "$JS.SNAPSHOT.ACK."+string(s)+".*")
	}
	r.records(d)
	if d.Claims {
		add(api+"STREAM.INFO."+onceKV, "$KV."+onceName+".*", api+"DIRECT.GET."+onceKV+".$KV."+onceName+".*")
	}
	if d.Declares {
		add(api + "INFO")
		for _, s := range market.Streams() {
			add(declaring(string(s))...)
		}
		add(declaring(recordsKV)...)
		add(declaring(onceKV)...)
	}
	slices.Sort(r.Publish)
	r.Publish = slices.Compact(r.Publish)
	return r
}

// records are the rights to cells of the bucket of records.
func (r *Rights) records(d Duty) {
	key := "$KV." + bucketName + "."
	get := api + "DIRECT.GET." + recordsKV + "." + key
	r.Publish = append(r.Publish, api+"STREAM.INFO."+recordsKV, get+cellMode)
	for _, c := range d.Changes {
		r.Publish = append(r.Publish, key+c, get+c)
	}
	for _, c := range d.Looks {
		r.Publish = append(r.Publish, get+c)
	}
	for _, c := range d.Lists {
		r.Publish = append(r.Publish, consumer(recordsKV, "."+key+c)...)
		r.Publish = append(r.Publish, "$JS.FC."+recordsKV+".*.*", "$JS.FC.*.*."+recordsKV+".*.*")
	}
}

// subjects that the duty publishes to in a stream.
func (d Duty) subjects(s market.Stream) []string {
	decl, _ := declarationOf(s)
	if s == market.Dead {
		return nil // letter by letter, see Rejects and Buries
	}
	return decl.subjects
}

// consumer is what it takes to have a consumer of a stream; create are the ends of the subjects that make it, which hold it to filters.
func consumer(stream string, create ...string) []string {
	out := []string{api + "CONSUMER.INFO." + stream + ".*", api + "CONSUMER.DELETE." + stream + ".*"}
	for _, c := range create {
		out = append(out, api+"CONSUMER.CREATE."+stream+".*"+c)
	}
	return out
}

func declaring(stream string) []string {
	return []string{api + "STREAM.INFO." + stream, api + "STREAM.CREATE." + stream, api + "STREAM.UPDATE." + stream}
}

// permissions are the rights as nats-server has them.
func (r Rights) permissions() *server.Permissions {
	p := &server.Permissions{Publish: &server.SubjectPermission{Allow: r.Publish}, Subscribe: &server.SubjectPermission{Allow: r.Subscribe}}
	if r.Responds {
		p.Response = &server.ResponsePermission{MaxMsgs: 1, Expires: respondWithin}
	}
	return p
}

// WriteUsers writes the users of all duties as nats-server's configuration reads them. login is what tells a user, such as `user: "lander", password: $LANDER`.
func WriteUsers(w io.Writer, login func(user string) string) error {
	var b strings.Builder
	b.WriteString("authorization {\n  users: [\n")
	for _, d := range duties {
		r := d.Rights()
		fmt.Fprintf(&b, "    # %s: %s.\n    {\n      %s\n      permissions: {\n", d.User, d.Does, login(d.User))
		for _, p := range []struct {
			name     string
			subjects []string
		}{{"publish", r.Publish}, {"subscribe", r.Subscribe}} {
			fmt.Fprintf(&b, "        %s: [\n", p.name)
			for _, s := range p.subjects {
				fmt.Fprintf(&b, "          %q\n", s)
			}
			b.WriteString("        ]\n")
		}
		if r.Responds {
			fmt.Fprintf(&b, "        allow_responses: {max: 1, expires: %q}\n", respondWithin)
		}
		b.WriteString("      }\n    }\n")
	}
	b.WriteString("  ]\n}\n")
	_, err := io.WriteString(w, b.String())
	return err
}
