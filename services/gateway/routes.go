package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/gateway/api"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
	"github.com/hashpivot/hashpivot/services/gateway/limit"
	"github.com/hashpivot/hashpivot/services/gateway/web"
)

// routes are what the gateway answers.
func (g *Gateway) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ws", g.serveWS)
	mux.HandleFunc("GET /v1/stream", g.serveSSE)
	mux.HandleFunc("POST /v1/ticket", g.serveTicket)
	if g.deps.Tables != nil {
		mux.Handle("/v1/", g.limited(api.New(api.Deps{
			Store: g.deps.Tables, Epoch: g.Epoch, Landed: g.deps.Log.Landed, Snapshot: g.Snapshot, Authorize: authorize, Logger: g.log,
		})))
	}
	mux.Handle(researchPath, g.research())
	mux.Handle("/", web.Handler())
	return mux
}

// admit lets a connection in, or answers why not.
func (g *Gateway) admit(w http.ResponseWriter, r *http.Request) (*auth.Grant, *limit.Lease, bool) {
	if !g.auth.Load().Origin(r) {
		g.metrics.refused.WithLabelValues("origin").Inc()
		g.refuse(w, http.StatusForbidden, live.Errorf(live.CodeForbidden, "pages of this origin may not connect; gateway.auth.origins lists those that may"))
		return nil, nil, false
	}
	place, err := g.limits.Connect(g.auth.Load().Addr(r))
	if err != nil {
		g.metrics.refused.WithLabelValues("limit").Inc()
		g.refuse(w, http.StatusTooManyRequests, live.AsError(err))
		return nil, nil, false
	}
	grant, err := g.auth.Load().Request(r)
	if auth.Absent(err) && r.URL.Path == "/v1/ws" {
		grant, err = auth.Nobody(), nil // it may authenticate by its first request
	}
	if err == nil {
		err = place.Grant(grant.Identity(), grant.Limits.Connections)
	}
	if err != nil {
		place.Close()
		g.metrics.refused.WithLabelValues("token").Inc()
		g.refuse(w, statusOf(err), live.AsError(err))
		return nil, nil, false
	}
	return grant, place, true
}

// statusOf is the HTTP status of an error.
func statusOf(err error) int {
	switch live.AsError(err).Code {
	case live.CodeUnauthorised:
		return http.StatusUnauthorized
	case live.CodeForbidden:
		return http.StatusForbidden
	case live.CodeTooMany:
		return http.StatusTooManyRequests
	case live.CodeUnavailable:
		return http.StatusServiceUnavailable
	case live.CodePurged:
		return http.StatusGone
	case live.CodeOtherEpoch:
		return http.StatusConflict
	case live.CodeInternal:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// granted is the key of a request's grant in its context.
type granted struct{}

// limited checks the token of an HTTP request and counts it.
func (g *Gateway) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.auth.Load().Origin(r) {
			g.metrics.refused.WithLabelValues("origin").Inc()
			g.refuse(w, http.StatusForbidden, live.Errorf(live.CodeForbidden, "pages of this origin may not ask; gateway.auth.origins lists those that may"))
			return
		}
		var grant *auth.Grant
		err := g.limits.HTTP(g.auth.Load().Addr(r)) // before the token is looked at: bad ones count too
		if err == nil {
			if grant, err = g.auth.Load().Request(r); auth.Absent(err) {
				grant, err = auth.Nobody(), nil // the documents are for everybody; the rest asks Authorize
			}
		}
		if err == nil && grant.Identity() != "" {
			err = g.limits.Subject(grant.Identity())
		}
		if err != nil {
			g.metrics.refused.WithLabelValues("request").Inc()
			g.refuse(w, statusOf(err), live.AsError(err))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), granted{}, grant)))
	})
}

// authorize tells whether an HTTP request may read the symbols of a channel.
func authorize(r *http.Request, channel live.Channel, symbols []string) error {
	grant, ok := r.Context().Value(granted{}).(*auth.Grant)
	if !ok {
		return errors.New("request did not come through the gateway")
	}
	return grant.Allows(channel, symbols)
}

// serveTicket gives a one-time ticket to who has a token.
func (g *Gateway) serveTicket(w http.ResponseWriter, r *http.Request) {
	g.limited(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		grant, _ := r.Context().Value(granted{}).(*auth.Grant)
		ticket, expires, err := g.auth.Load().Ticket(r.Context(), grant)
		if err != nil {
			g.refuse(w, statusOf(err), live.AsError(err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(struct {
			Ticket  string    `json:"ticket"`
			Expires time.Time `json:"expires"`
		}{ticket, expires})
	})).ServeHTTP(w, r)
}

// rateOf caps max_rate for a grant; 0: no cap.
func (g *Gateway) rateOf(grant *auth.Grant) float64 { return grant.Limits.MaxRate }

// subscriptionsOf is how many subscriptions a connection of the grant may have.
func (g *Gateway) subscriptionsOf(grant *auth.Grant) int {
	if n := grant.Limits.Subscriptions; n > 0 {
		return min(n, g.limits.Config().Subscriptions)
	}
	return g.limits.Config().Subscriptions
}

func (g *Gateway) limitsOf(grant *auth.Grant) live.Limits {
	return live.Limits{
		Subscriptions: g.subscriptionsOf(grant), Symbols: live.MaxSymbols, RequestBytes: live.MaxRequestBytes, RequestsPerSecond: g.limits.Config().Requests, MaxRate: g.rateOf(grant),
	}
}

// beginWithin is how long who comes right after a start waits for the streams.
const beginWithin = 5 * time.Second

// follows waits until a stream is followed.
func (g *Gateway) follows(ctx context.Context, name market.Stream) error {
	st := g.streams[name]
	select {
	case <-st.ready:
		return nil
	default:
	}
	late := time.NewTimer(beginWithin)
	defer late.Stop()
	select {
	case <-st.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return live.Errorf(live.CodeUnavailable, "stream %s is not followed yet; try again", name)
	}
}

// Epoch is the life of a stream that is served, Unix ns; 0 before it is known.
func (g *Gateway) Epoch(stream market.Stream) int64 {
	if st := g.streams[stream]; st != nil {
		return st.epoch.Load()
	}
	return 0
}

// Snapshot is the last value of each thing that the spec selects, as messages, and the position behind which the next messages lie. The spec must be normalized.
func (g *Gateway) Snapshot(ctx context.Context, spec live.Spec) (messages []json.RawMessage, position live.Cursor, _ error) {
	if err := g.follows(ctx, spec.Stream()); err != nil {
		return nil, live.Cursor{}, err
	}
	st := g.streams[spec.Stream()]
	st.mu.Lock()
	defer st.mu.Unlock()
	messages = []json.RawMessage{}
	for _, it := range st.snapshot(&spec) {
		if err := it.encode(encJSON); err != nil {
			return nil, live.Cursor{}, err
		}
		messages = append(messages, it.json)
	}
	return messages, st.position(), nil
}
