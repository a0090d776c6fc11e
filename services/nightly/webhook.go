package nightly

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Notice is what the webhook is told.
type Notice struct {
	// Event: notebook (one has failed for good) or run (it has ended).
	Event string `json:"event"`
	// State of a notebook, or of the run: ok, failed or differs.
	State     string       `json:"state"`
	Mode      string       `json:"mode"`
	TradeDate string       `json:"trade_date"`
	AsOf      string       `json:"as_of"`
	RunID     string       `json:"run_id"`
	Notebook  string       `json:"notebook,omitempty"`
	Cell      string       `json:"cell,omitempty"`
	Error     string       `json:"error,omitempty"`
	Complete  bool         `json:"complete"`
	Missing   []string     `json:"missing"`
	Failed    []string     `json:"failed,omitempty"`
	Differing []Difference `json:"differing,omitempty"`
	Figures   int          `json:"figures"`
	Directory string       `json:"directory"`
	Version   string       `json:"version"`
}

// maxDiffering bounds what a notice lists.
const maxDiffering = 50

func (s *Service) notice(r *researchRun, event, state string) Notice {
	missing := r.Missing
	if missing == nil {
		missing = []string{}
	}
	return Notice{
		Event: event, State: state, Mode: s.deps.Mode, TradeDate: r.Date.String(), AsOf: r.AsOf.Format(time.RFC3339Nano), RunID: r.ID, Complete: r.Complete, Missing: missing,
		Directory: r.Dir, Version: s.deps.Version,
	}
}

// tell posts a notice. That it cannot be delivered is logged and counted, and stops nothing.
func (s *Service) tell(ctx context.Context, n Notice) {
	w := s.cfg.Webhook
	if w.URL == "" {
		return
	}
	body, err := json.Marshal(n)
	if err == nil {
		wait := backoff.NewExponentialBackOff()
		wait.InitialInterval, wait.MaxInterval = s.webhookWait, 30*time.Second
		_, err = backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, s.post(ctx, body) },
			backoff.WithBackOff(wait), backoff.WithMaxTries(uint(w.Retries)+1), backoff.WithMaxElapsedTime(0))
	}
	if err != nil {
		s.metrics.webhooks.WithLabelValues("failed").Inc()
		s.log.Error("the webhook was not told", "event", n.Event, "run", n.RunID, "err", err)
		return
	}
	s.metrics.webhooks.WithLabelValues("told").Inc()
}

// post sends a body once. Its errors never have the URL in them.
func (s *Service) post(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Webhook.Within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.Webhook.URL.Reveal(), bytes.NewReader(body))
	if err != nil {
		return backoff.Permanent(errors.New("nightly.webhook.url is no URL"))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "hashpivot")
	client := &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		// A redirect would show our key to another.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return fmt.Errorf("post to the webhook: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	switch code := resp.StatusCode; {
	case code >= 200 && code <= 299:
		return nil
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code >= 500:
		return fmt.Errorf("post to the webhook: HTTP %d", code)
	default:
		return backoff.Permanent(fmt.Errorf("post to the webhook: HTTP %d", code))
	}
}
