// Package certs is TLS by configuration, for what connects and for what listens. Certificates are read again when their files change, so that one
// that is renewed counts without a restart; one that is no use is refused in a sentence that says what to do.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// ErrConfig marks what the operator has to mend: a file that cannot be read, a certificate that is no use.
var ErrConfig = errors.New("certificate cannot be used")

// minVersion is what every server and client of ours speaks at least.
const minVersion = tls.VersionTLS12

// soon is how long before its end a certificate is warned of.
const soon = 7 * 24 * time.Hour

// pair reads a certificate and its key. key names the configuration's key in errors.
func pair(certFile, keyFile, certName, keyName string, now time.Time) (*tls.Certificate, error) {
	certPEM, err := read(certFile, certName)
	if err != nil {
		return nil, err
	}
	keyPEM, err := read(keyFile, keyName)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%w: %s and %s: %w; they must be a PEM certificate (the server's own first) and the key that it was made for", ErrConfig, certFile, keyFile, err)
	}
	if leaf := cert.Leaf; now.Before(leaf.NotBefore) {
		return nil, fmt.Errorf("%w: %s is not valid before %s, and here it is %s: is this machine's clock right? If it is, wait or have another made",
			ErrConfig, certFile, stamp(leaf.NotBefore), stamp(now))
	} else if now.After(leaf.NotAfter) {
		return nil, fmt.Errorf("%w: %s has expired at %s, and here it is %s: renew it, or mend this machine's clock", ErrConfig, certFile, stamp(leaf.NotAfter), stamp(now))
	}
	return &cert, nil
}

// authorities reads the certificates that are trusted.
func authorities(file, name string) (*x509.CertPool, error) {
	text, err := read(file, name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%w: %s: %s has no PEM certificate; it must hold the authority's certificate, not its key", ErrConfig, name, file)
	}
	return pool, nil
}

func read(file, name string) ([]byte, error) {
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s: %s does not exist", ErrConfig, name, file)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: %s: %s may not be read by this user; give the file to it", ErrConfig, name, file)
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, name, err)
	}
	return text, nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// state is what tells that a file was replaced or written.
type state struct {
	modified time.Time
	size     int64
	inode    any
}

// states of files; zero for one that cannot be looked at, which is about to be replaced.
func states(files ...string) [3]state {
	var out [3]state
	for i, f := range files {
		if f == "" {
			continue
		}
		if info, err := os.Stat(f); err == nil {
			out[i] = state{info.ModTime(), info.Size(), inodeOf(info)}
		}
	}
	return out
}

// Names lists the names and addresses that a certificate file is for, to reach a server of our own by one of them.
func Names(certFile string) ([]string, error) {
	text, err := read(certFile, "certificate")
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%w: %s has no PEM certificate", ErrConfig, certFile)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, certFile, err)
	}
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return names, nil
}
