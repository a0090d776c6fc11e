package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// Upstreams are a check for each question to an upstream: is it reached, does it take our key, is its clock near ours?
func Upstreams(probes []feed.Probe, client *http.Client) []Check {
	var out []Check
	for _, p := range probes {
		out = append(out, Simple("upstream "+p.Source, func(ctx context.Context) Finding { return upstream(ctx, p, client) }))
	}
	return out
}

func upstream(ctx context.Context, p feed.Probe, client *http.Client) Finding {
	a, err := p.Ask(ctx, client)
	if err != nil {
		return fail("is the network up, the resolver, the proxy, the firewall? is the URL right?", "%s", err)
	}
	host := p.Dial
	if host == "" {
		host = p.Request.URL
		if u, err := url.Parse(host); err == nil {
			host = u.Host
		}
	}
	f := okay("%s answers", host)
	if p.Key != "" {
		f = keyed(host, p.Key, a)
	}
	if a.Within == 0 || f.State == Fail {
		return f
	}
	if c := clock(host, a.Offset, a.Within, clockMost); c.State != OK {
		return c
	}
	return f
}

// keyed judges the answer to a request with a key.
func keyed(host, key string, a feed.Answer) Finding {
	body := ""
	if text := strings.Join(strings.Fields(a.Body), " "); text != "" {
		body = fmt.Sprintf(" %.120q", text)
	}
	switch a.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusPaymentRequired:
		return fail("see to "+key+": it is wrong, was withdrawn, or its plan has not what is asked for", "%s does not take the key: HTTP %d%s", host, a.Status, body)
	case http.StatusTooManyRequests:
		return warn("wait; does another program use the same key?", "%s says that we ask too often: HTTP %d%s", host, a.Status, body)
	}
	if a.Status < 200 || a.Status > 299 {
		return warn("try again later; is the URL right?", "%s answers HTTP %d%s, which does not tell whether it takes the key", host, a.Status, body)
	}
	return okay("%s takes the key", host)
}

// Off names the upstreams that want a key and have none.
func Off(keys []string) Check {
	return Simple("upstreams off", func(context.Context) Finding {
		if len(keys) == 0 {
			return okay("none")
		}
		return okay("on when set: %s", strings.Join(keys, ", "))
	})
}
