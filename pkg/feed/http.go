package feed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Response is a whole HTTP answer.
type Response struct {
	Body   []byte
	Header http.Header
	Recv   time.Time // when the whole body was in hand, UTC
	// Date is the upstream's clock by its Date header; zero without one.
	Date time.Time
}

// Request is one HTTP call to an upstream. Limit bounds the body (0: 32 MiB).
type Request struct {
	Method string // GET where empty
	URL    string
	Header http.Header
	Body   []byte
	Limit  int64
}

// StatusError is an HTTP answer other than 2xx.
type StatusError struct {
	Status int
	Body   string // its beginning
}

func (e *StatusError) Error() string { return fmt.Sprintf("HTTP %d %.200q", e.Status, e.Body) }

// Call makes one request. Errors: *StatusError in the chain for an answer other than 2xx; marked RetryAfter where the upstream limits our
// rate, Refused for 401 and 403; *Malformed with ReasonTooLarge for a body over the limit.
func Call(ctx context.Context, client *http.Client, r Request) (*Response, error) {
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if r.Limit == 0 {
		r.Limit = 32 << 20
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return nil, fmt.Errorf("make request to %s: %w", redact(r.URL), err)
	}
	for k, v := range r.Header {
		req.Header[k] = v
	}
	resp, err := client.Do(req)
	if err != nil {
		// The client's error repeats the URL with its query; ours must not.
		return nil, fmt.Errorf("%s %s: %w", r.Method, redact(r.URL), unwrapURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, r.Limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: read body: %w", r.Method, redact(r.URL), err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, statusError(fmt.Errorf("%s %s: %w", r.Method, redact(r.URL), &StatusError{Status: resp.StatusCode, Body: string(body[:min(len(body), 512)])}),
			resp.StatusCode, resp.Header)
	}
	if int64(len(body)) > r.Limit {
		return nil, &Malformed{Reason: ReasonTooLarge, Err: fmt.Errorf("%s %s: the body is over %d bytes", r.Method, redact(r.URL), r.Limit)}
	}
	out := &Response{Body: body, Header: resp.Header, Recv: time.Now().UTC()}
	if d, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		out.Date = d.UTC()
	}
	return out, nil
}

func unwrapURL(err error) error {
	type unwrapper interface{ Unwrap() error }
	if u, ok := err.(unwrapper); ok {
		if inner := u.Unwrap(); inner != nil {
			return inner
		}
	}
	return err
}

// statusError marks err by what the status means for a retry.
func statusError(err error, status int, h http.Header) error {
	switch {
	case status == http.StatusTooManyRequests:
		return RetryAfter(err, retryAfter(h, time.Now()))
	case status == http.StatusRequestTimeout, status >= 500:
		return err
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusPaymentRequired:
		return Refused(err)
	}
	return err
}

// retryAfter reads Retry-After (seconds or a date) or X-RateLimit-Reset (Unix seconds); 5 s without either, 5 min at most.
func retryAfter(h http.Header, now time.Time) time.Duration {
	d := 5 * time.Second
	if v := h.Get("Retry-After"); v != "" {
		if n, err := strconv.Atoi(v); err == nil {
			d = time.Duration(n) * time.Second
		} else if t, err := http.ParseTime(v); err == nil {
			d = t.Sub(now)
		}
	} else if n, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64); err == nil {
		d = time.Unix(n, 0).Sub(now)
	}
	return min(max(d, time.Second), 5*time.Minute)
}

// CallPatiently makes a request again, with back-off, as long as what went wrong may pass (network, 5xx, 408, 429), until ctx ends.
func (f *Feed) CallPatiently(ctx context.Context, client *http.Client, r Request) (*Response, error) {
	bo := newBackoff(f.policy(DefaultPolicy()))
	for {
		resp, err := Call(ctx, client, r)
		if err == nil || ctx.Err() != nil || !passing(err) {
			return resp, err
		}
		wait := waitFor(bo, err)
		f.log.Warn("upstream call will be made again", "err", err, "wait", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (last: %w)", context.Cause(ctx), err)
		case <-time.After(wait):
		}
	}
}
