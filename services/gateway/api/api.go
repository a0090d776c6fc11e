// Package api answers over HTTP what lies beside the live feed: history, bars, series, the ledger of gaps, reference data, snapshots. docs/live.md
// describes it.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/schemas"
)

// Store is ClickHouse as the endpoints read it.
type Store interface {
	Events(ctx context.Context, q store.EventQuery, fn func(market.Event, market.Place) error) error
	SeqBetween(ctx context.Context, stream market.Stream, since, t time.Time) (uint64, error)
	Query(ctx context.Context, sql string) (*store.Result, error)
}

// Deps are what the endpoints work with.
type Deps struct {
	Store Store
	// Epoch is when a stream was made, Unix ns; 0: not known yet.
	Epoch func(market.Stream) int64
	// Landed is up to where the tables have everything, and of which life of the stream, Unix ns.
	Landed func(ctx context.Context, stream market.Stream) (through uint64, created int64, err error)
	// Snapshot is the last value of each thing that a normalized spec selects.
	Snapshot func(ctx context.Context, spec live.Spec) ([]json.RawMessage, live.Cursor, error)
	// Authorize says whether the request may read the symbols of the channel; its error is an *live.Error.
	Authorize func(r *http.Request, channel live.Channel, symbols []string) error
	Logger    *slog.Logger
}

// Bounds of requests.
const (
	maxQueries  = 8 // at a time
	waitQuery   = 5 * time.Second
	maxTime     = 30 * time.Second
	defaultRows = 1000
	maxRows     = 10_000
	maxBytes    = 8 << 20 // of a page of messages
)

type handler struct {
	Deps
	slots chan struct{}
}

// answer is what an endpoint says: a body and how long it may be kept.
type answer struct {
	body  any
	cache string
}

// How long answers may be kept, by their readers alone.
const (
	cacheNo      = "private, no-cache"
	cacheMinute  = "private, max-age=60"
	cacheForever = "private, max-age=86400, immutable"
)

type endpoint func(r *http.Request, p *params) (answer, error)

func (h *handler) endpoints() map[string]endpoint {
	return map[string]endpoint{
		"/v1/history": h.history, "/v1/bars": h.bars, "/v1/series": h.series, "/v1/gaps": h.gaps, "/v1/instruments": h.instruments, "/v1/events": h.events,
		"/v1/snapshot": h.snapshot,
	}
}

// New returns the handler of the endpoints.
func New(d Deps) http.Handler {
	h := &handler{Deps: d, slots: make(chan struct{}, maxQueries)}
	mux := http.NewServeMux()
	for path, e := range h.endpoints() {
		mux.Handle(path, h.serve(e))
	}
	for path, text := range map[string][]byte{"/v1/openapi.yaml": schemas.OpenAPI, "/v1/asyncapi.yaml": schemas.AsyncAPI} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/yaml")
			w.Header().Set("Cache-Control", "public, max-age=300")
			_, _ = w.Write(text)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, live.Errorf(live.CodeBadRequest, "there is no such endpoint; docs/live.md lists them"))
	})
	return gzhttp.GzipHandler(mux)
}

// serve bounds a request in time and number, and writes its answer or its error.
func (h *handler) serve(e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, http.StatusMethodNotAllowed, live.Errorf(live.CodeBadRequest, "only GET is answered here"))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), maxTime)
		defer cancel()
		if !h.enter(ctx) {
			w.Header().Set("Retry-After", "1")
			writeError(w, http.StatusServiceUnavailable, live.Errorf(live.CodeUnavailable, "too many questions at once; try again"))
			return
		}
		defer func() { <-h.slots }()
		p := newParams(r)
		a, err := e(r.WithContext(ctx), p)
		if err == nil {
			var body []byte
			if body, err = json.Marshal(a.body); err == nil {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("X-Content-Type-Options", "nosniff")
				w.Header().Set("Cache-Control", a.cache)
				_, _ = w.Write(body)
				return
			}
		}
		h.fail(w, r, err)
	})
}

func (h *handler) enter(ctx context.Context) bool {
	wait := time.NewTimer(waitQuery)
	defer wait.Stop()
	select {
	case h.slots <- struct{}{}:
		return true
	case <-wait.C:
	case <-ctx.Done():
	}
	return false
}

// fail tells an error. What is nobody's fault but the store's is unavailable, and the log says why.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *live.Error
	if !errors.As(err, &e) {
		h.Logger.Warn("a question cannot be answered", "path", r.URL.Path, "err", err)
		e = live.Errorf(live.CodeUnavailable, "history cannot be read now, or not within %s; ask for less or try again", maxTime)
	}
	status := statusOf(e.Code)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeError(w, status, e)
}

func statusOf(code string) int {
	switch code {
	case live.CodeUnauthorised:
		return http.StatusUnauthorized
	case live.CodeForbidden:
		return http.StatusForbidden
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

func writeError(w http.ResponseWriter, status int, e *live.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e)
}

// anyGrant lets everybody read who has any grant at all: reference data belongs to no channel.
func (h *handler) anyGrant(r *http.Request) error {
	err := h.Authorize(r, live.Bars, []string{"*"})
	var e *live.Error
	if errors.As(err, &e) && e.Code == live.CodeForbidden {
		return nil
	}
	return err
}
