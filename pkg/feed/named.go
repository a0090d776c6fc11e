package feed

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// CertificateError says that an upstream's certificate is not to be trusted.
type CertificateError struct {
	// Problem is what is wrong, with the certificate's own dates or names where they tell.
	Problem string
	Err     error
}

func (e *CertificateError) Error() string { return "certificate: " + e.Problem }

// Unwrap returns what the TLS library said.
func (e *CertificateError) Unwrap() error { return e.Err }

// nameTLS makes a CertificateError of what crypto/x509 refused.
func nameTLS(err error) error {
	if inv, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if inv.Reason == x509.Expired && inv.Cert != nil {
			return &CertificateError{fmt.Sprintf("it has expired or is not valid yet: it is for %s to %s; is our clock right?",
				inv.Cert.NotBefore.UTC().Format("2006-01-02 15:04"), inv.Cert.NotAfter.UTC().Format("2006-01-02 15:04")), err}
		}
		return &CertificateError{inv.Error(), err}
	}
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		return &CertificateError{host.Error(), err}
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return &CertificateError{unknown.Error(), err}
	}
	return err
}

// The names of what keeps a feed from being accepted. Each is told once an outage.
const (
	nameUnreachable = "unreachable"
	nameCertificate = "certificate"
	nameRateLimit   = "rate limit"
	nameMalformed   = "malformed"
	nameStatus      = "status"
	nameSlow        = "slow"
)

func nameOf(err error) string {
	if _, ok := errors.AsType[*CertificateError](err); ok {
		return nameCertificate
	}
	if _, ok := errors.AsType[*retryAfterError](err); ok {
		return nameRateLimit
	}
	if _, ok := errors.AsType[*Malformed](err); ok {
		return nameMalformed
	}
	if _, ok := errors.AsType[*StatusError](err); ok {
		return nameStatus
	}
	if errors.Is(err, errNotReady) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return nameSlow
	}
	return nameUnreachable
}
