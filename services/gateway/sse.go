package gateway

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// serveSSE is one subscription as Server-Sent Events, for those who cannot do websockets: GET /v1/stream?channel=trades&symbols=CORZ,IREN&from=snapshot. An
// event's id is a cursor, so a browser that comes back goes on behind it.
func (g *Gateway) serveSSE(w http.ResponseWriter, r *http.Request) {
	grant, place, ok := g.admit(w, r)
	if !ok {
		return
	}
	fail := func(err error) {
		place.Close()
		e := live.AsError(err)
		g.metrics.errors.WithLabelValues(e.Code).Inc()
		g.refuse(w, statusOf(err), e)
	}
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains([]string{"channel", "symbols", "interval", "source", "max_rate", "from", "epoch", "ticket"}, name) {
			fail(live.Errorf(live.CodeBadRequest, "parameter %.32q is unknown", name))
			return
		}
	}
	spec := live.Spec{
		Channel: live.Channel(q.Get("channel")), Symbols: strings.Split(q.Get("symbols"), ","), Source: q.Get("source"), Interval: market.Interval(q.Get("interval")),
	}
	if rate := q.Get("max_rate"); rate != "" {
		var err error
		if spec.MaxRate, err = strconv.ParseFloat(rate, 64); err != nil {
			fail(live.Errorf(live.CodeBadRate, "max_rate %.32q is no number", rate))
			return
		}
	}
	from := q.Get("from")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		from = last
	}
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		fail(live.Errorf(live.CodeBadRequest, "Server-Sent Events need HTTP/1.1"))
		return
	}
	// Everything that can be wrong is found before the answer begins.
	probe := &client{gw: g, grant: grant, ctx: r.Context()}
	want, err := probe.wanted(spec, from, q.Get("epoch"))
	if err != nil {
		fail(err)
		return
	}
	nc, _, err := hijacker.Hijack()
	if err != nil {
		fail(err)
		return
	}
	raw, ok := nc.(*conn)
	if !ok {
		place.Close()
		_ = nc.Close()
		return
	}
	c := g.newClient(raw, variant{enc: encSSE}, grant, place, r, []byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"+
		"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n"+
		"Connection: close\r\nX-Accel-Buffering: no\r\n\r\n"))
	if c == nil {
		_ = raw.Close()
		return
	}
	go func() {
		defer g.reading.Done()
		c.serveOne(want)
		g.remove(c)
	}()
}

// maxRequestRest is what a client may send behind its request.
const maxRequestRest = 4096

// serveOne sends one subscription until the client goes away. Nothing is read of it but its end.
func (c *client) serveOne(w *want) {
	sub, err := c.register(w)
	if err == nil {
		err = c.begin(sub, w.from, func() { c.ack(&live.Request{Op: live.OpSubscribe}, sub.id) })
	}
	if err != nil {
		c.sendError("", "", err)
		c.close(live.CloseShutdown, "")
	}
	_ = c.conn.SetReadDeadline(time.Time{})
	var one [64]byte
	for n := 0; n < maxRequestRest; {
		k, err := c.conn.Read(one[:])
		if n += k; err != nil {
			break
		}
	}
	c.drop(errGone)
}
