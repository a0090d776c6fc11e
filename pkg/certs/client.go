package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"time"
)

// Client is how a client trusts and shows itself. Its files are read for each connection.
type Client struct {
	// Section begins the names of the configuration's keys, in errors: nats, clickhouse.
	Section string
	// CAFile holds the authorities that are trusted, and no others are; empty: the system's.
	CAFile string
	// CertFile and KeyFile are our own certificate, for servers that ask for one.
	CertFile, KeyFile string
}

// Validate names the key that is wrong. It reads no file.
func (c Client) Validate() error {
	if (c.CertFile == "") != (c.KeyFile == "") {
		return fmt.Errorf("%s.cert_file and %s.key_file belong together: give both or neither", c.Section, c.Section)
	}
	return nil
}

// Given reports whether anything is configured.
func (c Client) Given() bool { return c.CAFile != "" || c.CertFile != "" }

// Roots are the trusted authorities as the file has them now; nil: the system's.
func (c Client) Roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	return authorities(c.CAFile, c.Section+".ca_file")
}

// Certificate is our own as the files have it now.
func (c Client) Certificate() (tls.Certificate, error) {
	cert, err := pair(c.CertFile, c.KeyFile, c.Section+".cert_file", c.Section+".key_file", time.Now())
	if err != nil {
		return tls.Certificate{}, err
	}
	return *cert, nil
}

// Config is for one connection to the host.
func (c Client) Config(host string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: minVersion, ServerName: host}
	var err error
	if cfg.RootCAs, err = c.Roots(); err != nil {
		return nil, err
	}
	if c.CertFile != "" {
		cert, err := c.Certificate()
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}

// Dial makes one connection to host:port, within the time. Its error says what to do.
func (c Client) Dial(ctx context.Context, addr string, within time.Duration) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	cfg, err := c.Config(host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, Explain(err, c.Section)
	}
	return conn, nil
}
