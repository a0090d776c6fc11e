package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Probe is one cheap question to an upstream: can it be reached, and does it take our key? It asks for nothing that is published.
type Probe struct {
	Source string
	// Request is the question. A websocket's URL is asked as HTTP: whatever is answered, it was reached.
	Request Request
	// Key is the configuration's key of the secret that the request carries; empty: it carries none, and any answer is good.
	Key string
	// Dial is the host:port of what does not speak HTTP; it is connected to and no more.
	Dial string
}

// Answer is what came of a probe that reached its upstream.
type Answer struct {
	Status int    // of HTTP; 0: only connected
	Body   string // its beginning, where the status is no success
	// Offset of the upstream's clock to ours by its Date header, known to within Within; Within is 0 without one.
	Offset, Within time.Duration
}

// Ask asks once. An error says that the upstream was not reached.
func (p Probe) Ask(ctx context.Context, client *http.Client) (Answer, error) {
	if p.Dial != "" {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", p.Dial)
		if err != nil {
			return Answer{}, fmt.Errorf("connect to %s: %w", p.Dial, err)
		}
		return Answer{}, conn.Close()
	}
	u, err := url.Parse(p.Request.URL)
	if err != nil {
		return Answer{}, errors.New("the URL does not parse")
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	}
	method := p.Request.Method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(p.Request.Body))
	if err != nil {
		return Answer{}, fmt.Errorf("make request to %s: %w", redact(p.Request.URL), err)
	}
	for k, v := range p.Request.Header {
		req.Header[k] = v
	}
	asked := time.Now()
	resp, err := careful(client).Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, redact(p.Request.URL), nameTLS(unwrapURL(err)))
	}
	defer func() { _ = resp.Body.Close() }()
	took := time.Since(asked)
	a := Answer{Status: resp.StatusCode}
	if d, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// The header is cut to the second, and was written somewhere between question and answer.
		a.Within = took/2 + time.Second/2
		a.Offset = d.Add(time.Second / 2).Sub(asked.Add(took / 2))
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // the status says enough
		a.Body = string(text)
	}
	return a, nil
}
