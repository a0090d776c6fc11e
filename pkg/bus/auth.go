package bus

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hashpivot/hashpivot/pkg/certs"
)

// tls is how we speak TLS with NATS.
func (c Config) tls() certs.Client {
	return certs.Client{Section: "nats", CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile}
}

// inbox is the prefix of the subjects on which answers come to us: _INBOX_<user>, which a server can keep other users from reading; NATS's own _INBOX is
// one for all.
func (c Config) inbox() string {
	if c.InboxPrefix != "" {
		return c.InboxPrefix
	}
	if c.User != "" {
		return inboxOf(c.User)
	}
	return strings.TrimSuffix(nats.InboxPrefix, ".")
}

func inboxOf(user string) string { return "_INBOX_" + EscapeToken(user) }

// identity is who we are to the server, and whom we take for it.
func (c Config) identity() ([]nats.Option, error) {
	opts := []nats.Option{nats.CustomInboxPrefix(c.inbox())}
	if c.User != "" && c.NKeyFile == "" && c.CredsFile == "" {
		opts = append(opts, nats.UserInfo(c.User, c.Password.Reveal()))
	}
	if c.Token != "" {
		opts = append(opts, nats.Token(c.Token.Reveal()))
	}
	if c.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(c.CredsFile))
	}
	if c.NKeyFile != "" {
		opt, err := nats.NkeyOptionFromSeed(c.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("connect to NATS: read nats.nkey_file %s: %w; it must hold the seed of a user, which begins with SU", c.NKeyFile, err)
		}
		opts = append(opts, opt)
	}
	t := c.tls()
	if !t.Given() {
		return opts, nil
	}
	var own nats.TLSCertHandler
	if t.CertFile != "" {
		if _, err := t.Certificate(); err != nil {
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		own = t.Certificate
	}
	var roots nats.RootCAsHandler
	if t.CAFile != "" {
		if _, err := t.Roots(); err != nil {
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		roots = t.Roots
	}
	return append(opts, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}), nats.ClientTLSConfig(own, roots)), nil
}

// explain says what to do about a connection that was not made.
func (c Config) explain(err error) error {
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return fmt.Errorf("%w: the server does not know us: look at nats.user and nats.password (or nats.nkey_file, nats.creds_file, nats.token) and at the server's users", err)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("%w: nats.url or nats.ca_file ask for TLS and the server offers none: give it a certificate, or leave both without TLS", err)
	case errors.Is(err, nats.ErrSecureConnRequired):
		return fmt.Errorf("%w: the server wants TLS: write tls:// in nats.url, and nats.ca_file where its authority is not the system's", err)
	}
	if x, ok := errors.AsType[*certs.Error](certs.Explain(err, "nats")); ok {
		return x
	}
	if errors.Is(err, nats.ErrTLS) && strings.Contains(err.Error(), "after TLS handshake") { // its alert did not arrive before its end
		return fmt.Errorf("%w: the server asks for a certificate of ours, or does not take the one that it was shown: set nats.cert_file and nats.key_file to one for client "+
			"authentication, signed by an authority that the server trusts", err)
	}
	return fmt.Errorf("%w; is the server running at nats.url?", err)
}

// tellEvery bounds how often the log says that we are not connected again.
const tellEvery = 30 * time.Second

// notBack tells why we are not connected again, now and then.
func (b *Bus) notBack() nats.ConnErrHandler {
	var told time.Time // called by one goroutine
	return func(_ *nats.Conn, err error) {
		if err == nil || time.Since(told) < tellEvery {
			return
		}
		told = time.Now()
		b.log.Warn("not connected to NATS again yet", "err", b.cfg.explain(err))
	}
}

// DeniedError is the server's refusal to let our user publish or subscribe to a subject.
type DeniedError struct{ User, What, Subject string }

func (e *DeniedError) Error() string {
	return fmt.Sprintf("NATS does not let user %s %s %s: it is not among the user's rights (hashpivot nats-users prints what each user needs)",
		cmp.Or(e.User, "without a name"), e.What, e.Subject)
}

// denials are what the server has refused. It tells of a refusal beside the request, which gets no answer: who waits for one is woken.
type denials struct {
	mu      sync.Mutex
	waiting map[*waiter]struct{}
	last    map[string]*DeniedError // by subject
}

type waiter struct {
	prefixes []string
	cancel   context.CancelCauseFunc
}

// maxDenials bounds the refusals that are remembered.
const maxDenials = 256

// reported takes what the server reports beside answers.
func (b *Bus) reported(err error) {
	if d := b.deniedBy(err); d != nil {
		b.denied.note(d)
	}
	b.log.Warn("NATS reports", "err", err)
}

// deniedBy reads a permissions violation: Permissions Violation for Publish to "subject".
func (b *Bus) deniedBy(err error) *DeniedError {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	text := err.Error()
	what := "publish to"
	if strings.Contains(strings.ToLower(text), "violation for subscription") {
		what = "subscribe to"
	}
	_, rest, _ := strings.Cut(text, `"`)
	subject, _, ok := strings.Cut(rest, `"`)
	if !ok {
		return nil
	}
	return &DeniedError{b.cfg.User, what, subject}
}

func (d *denials) note(e *DeniedError) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil || len(d.last) >= maxDenials {
		d.last = map[string]*DeniedError{}
	}
	d.last[e.Subject] = e
	for w := range d.waiting {
		for _, p := range w.prefixes {
			if strings.HasPrefix(e.Subject, p) {
				w.cancel(e)
			}
		}
	}
}

// of is the refusal of a subject, if there was one.
func (d *denials) of(subject string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.last[subject]; e != nil {
		return e
	}
	return nil
}

// asking runs a request whose subjects begin with one of the prefixes, and ends it with a *DeniedError when the server refuses.
func (b *Bus) asking(ctx context.Context, ask func(context.Context) error, prefixes ...string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &waiter{prefixes, cancel}
	b.denied.mu.Lock()
	if b.denied.waiting == nil {
		b.denied.waiting = map[*waiter]struct{}{}
	}
	b.denied.waiting[w] = struct{}{}
	b.denied.mu.Unlock()
	defer func() {
		b.denied.mu.Lock()
		delete(b.denied.waiting, w)
		b.denied.mu.Unlock()
	}()
	err := ask(ctx)
	if d, ok := errors.AsType[*DeniedError](context.Cause(ctx)); ok && err != nil {
		return d
	}
	return err
}
