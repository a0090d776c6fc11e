package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// Request is one HTTP call to an upstream. Limit bounds the body after decompression (0: 32 MiB), Within the time until it is whole (0: a
// minute). Limiter, if any, is waited for before the call and told of the answer.
type Request struct {
	Method string // GET where empty
	URL    string
	Header http.Header
	Body   []byte
	Limit  int64
	Within time.Duration

	Limiter *Limiter
}

// StatusError is an HTTP answer other than 2xx.
type StatusError struct {
	Status int
	Body   string // its beginning
}

func (e *StatusError) Error() string { return fmt.Sprintf("HTTP %d %.200q", e.Status, e.Body) }

// Call makes one request. Errors: *StatusError in the chain for an answer other than 2xx; marked RetryAfter where the upstream limits our
// rate, Refused for 401 and 403; *Malformed with ReasonTooLarge for a body over the limit. A redirect to another host is an error: it would
// be shown our key.
func Call(ctx context.Context, client *http.Client, r Request) (*Response, error) {
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if r.Limit == 0 {
		r.Limit = 32 << 20
	}
	if r.Within == 0 {
		r.Within = time.Minute
	}
	if r.Limiter != nil {
		if err := r.Limiter.Wait(ctx); err != nil {
			return nil, fmt.Errorf("wait for the rate limit of %s: %w", redact(r.URL), err)
		}
	}
	outer := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, r.Within, fmt.Errorf("no whole answer within %s", r.Within))
	defer cancel()
	// The client's own error would not say which limit it was.
	slow := func(err error) error {
		if outer.Err() == nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return nil, fmt.Errorf("make request to %s: %w", redact(r.URL), err)
	}
	for k, v := range r.Header {
		req.Header[k] = v
	}
	resp, err := careful(client).Do(req)
	if err != nil {
		// The client's error repeats the URL with its query; ours must not.
		return nil, fmt.Errorf("%s %s: %w", r.Method, redact(r.URL), slow(nameTLS(unwrapURL(err))))
	}
	if r.Limiter != nil {
		r.Limiter.Note(resp.StatusCode, resp.Header)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, r.Limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: read body: %w", r.Method, redact(r.URL), slow(err))
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

// careful is client without redirects to other hosts: net/http strips Authorization on such a redirect, but none of the headers that
// venues have invented for their keys.
func careful(client *http.Client) *http.Client {
	c := *client
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		first := via[0].URL
		switch {
		case req.URL.Host != first.Host:
			return fmt.Errorf("redirected to another host, %s: not followed, because it would be shown our key; is the URL right?", req.URL.Host)
		case first.Scheme == "https" && req.URL.Scheme != "https":
			return errors.New("redirected from https to http: not followed, because it would show our key")
		case len(via) >= 5:
			return errors.New("redirected five times")
		case client.CheckRedirect != nil:
			return client.CheckRedirect(req, via)
		}
		return nil
	}
	return &c
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
		d, ok := retryAfter(h, time.Now())
		if !ok {
			d = 5 * time.Second
		}
		return RetryAfter(err, max(d, time.Second))
	case status == http.StatusRequestTimeout, status >= 500:
		return err
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusPaymentRequired:
		return Refused(err)
	}
	return err
}

// Call is Call within the time of the feed's policy, if that is shorter; the feed counts what it receives.
func (f *Feed) Call(ctx context.Context, client *http.Client, r Request) (*Response, error) {
	if within := f.policy(DefaultPolicy()).CallWithin; within > 0 && (r.Within == 0 || within < r.Within) {
		r.Within = within
	}
	resp, err := Call(ctx, client, r)
	if err == nil {
		f.calls.count(len(resp.Body))
		resp.Recv = f.Now()
	}
	return resp, err
}

// CallPatiently makes a request again, with back-off, as long as what went wrong may pass (network, 5xx, 408, 429), until ctx ends.
func (f *Feed) CallPatiently(ctx context.Context, client *http.Client, r Request) (*Response, error) {
	p := f.policy(DefaultPolicy())
	bo := newBackoff(p)
	for {
		resp, err := f.Call(ctx, client, r)
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
