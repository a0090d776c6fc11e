package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// Error is a connection that TLS has kept from being made.
type Error struct {
	// Problem is what is wrong, Do what to do about it.
	Problem, Do string
	Err         error
}

func (e *Error) Error() string { return fmt.Sprintf("TLS: %s: %s (%s)", e.Problem, e.Do, e.Err) }

// Unwrap returns what the TLS library said.
func (e *Error) Unwrap() error { return e.Err }

// Explain makes an *Error of what crypto/tls and crypto/x509 said to a client; another error it returns as it is. Keys of the configuration begin with section.
func Explain(err error, section string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if problem, do := explain(err, section, time.Now()); problem != "" {
		return &Error{Problem: problem, Do: do, Err: err}
	}
	return err
}

func explain(err error, section string, now time.Time) (problem, do string) {
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if bad.Reason == x509.Expired && bad.Cert != nil {
			if now.Before(bad.Cert.NotBefore) {
				return fmt.Sprintf("the server's certificate is not valid before %s, and here it is %s", stamp(bad.Cert.NotBefore), stamp(now)),
					"look at both machines' clocks; if they are right, wait or have another certificate made"
			}
			return fmt.Sprintf("the server's certificate has expired at %s, and here it is %s", stamp(bad.Cert.NotAfter), stamp(now)),
				"renew it on the server, or mend the clock here"
		}
		return "the server's certificate is not one for a server of that kind", "have one made for server authentication by an authority that may sign it"
	}
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("the server's certificate is not for %s", host.Host),
			fmt.Sprintf("connect by a name that it is for (%s), or have one made that names this one as a subject alternative name", namesOf(host.Certificate))
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		by := ""
		if unknown.Cert != nil {
			by = " (" + unknown.Cert.Issuer.String() + ")"
		}
		return "the server's certificate is signed by an authority that is not trusted here" + by,
			fmt.Sprintf("set %s.ca_file to the certificate of the authority that signed it; is it the right server?", section)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "what listens there does not speak TLS", "give the address that does, or connect without TLS"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return remote(op.Err.Error(), section)
	}
	return "", ""
}

// remote explains an alert of the server's. Its type is not exported.
func remote(alert, section string) (problem, do string) {
	own := fmt.Sprintf("%s.cert_file and %s.key_file", section, section)
	switch {
	case strings.Contains(alert, "certificate required"):
		return "the server asks for a certificate of ours", "set " + own
	case strings.Contains(alert, "expired certificate"):
		return "the server says that our certificate has expired", "renew " + own + "; are both machines' clocks right?"
	case strings.Contains(alert, "unknown certificate authority"), strings.Contains(alert, "bad certificate"), strings.Contains(alert, "unknown certificate"),
		strings.Contains(alert, "unsupported certificate"):
		return "the server does not take our certificate", "set " + own + " to one for client authentication, signed by an authority that the server trusts"
	case strings.Contains(alert, "handshake failure"), strings.Contains(alert, "protocol version"):
		return "the server speaks no version of TLS that we do", "upgrade it: TLS 1.2 is the least"
	}
	return "", ""
}

func namesOf(c *x509.Certificate) string {
	if c == nil {
		return "none"
	}
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "none: it has no subject alternative names"
	}
	return strings.Join(names[:min(len(names), 8)], ", ")
}
