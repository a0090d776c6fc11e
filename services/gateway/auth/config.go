// Package auth decides who may do what at the gateway: tokens and their scopes, one-time tickets for browsers, anonymous readers, origins.
// docs/live.md, "Access", describes it.
package auth

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
)

// Algorithms of keys. A key serves its own algorithm alone.
const (
	HS256 = "HS256"
	EdDSA = "EdDSA"
)

// Who may read without a token.
const (
	AnonymousLoopback = "loopback"
	AnonymousEveryone = "everyone"
	AnonymousNobody   = "nobody"
)

// Bounds of the configuration.
const (
	minSecretBytes = 32 // RFC 7518: a key of HS256 has at least the hash's length
	maxLeeway      = time.Minute
	maxTTL         = 366 * 24 * time.Hour
	maxTicketTTL   = 5 * time.Minute
)

// Config of who may do what.
type Config struct {
	// Anonymous says who may read without a token: loopback (clients and listener both on this machine), everyone or nobody.
	Anonymous string `koanf:"anonymous"`
	// AnonymousScope is what they may read.
	AnonymousScope []string `koanf:"anonymous_scope"`
	// Keys by their id, the kid of a token. Several serve while keys are changed.
	Keys map[string]Key `koanf:"keys"`
	// SignWith is the id of the key that signs tickets and new tokens; empty: the only one that can.
	SignWith string `koanf:"sign_with"`
	// Issuer and Audience that a token must name; empty: any.
	Issuer   string `koanf:"issuer"`
	Audience string `koanf:"audience"`
	// MaxTTL is the longest life of a token.
	MaxTTL time.Duration `koanf:"max_ttl"`
	// TicketTTL is the life of a ticket.
	TicketTTL time.Duration `koanf:"ticket_ttl"`
	// Leeway is how far the issuer's clock may be off.
	Leeway time.Duration `koanf:"leeway"`
	// Origins of browser pages that may connect, as https://desk.example.com; the gateway's own may always.
	Origins []string `koanf:"origins"`
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []string `koanf:"trusted_proxies"`
	// Listen is where the gateway listens; without it nobody counts as local.
	Listen string `koanf:"-"`
}

// Key is one key, in a file or given as it is.
type Key struct {
	// Algorithm: HS256 (a secret of 32 bytes or more) or EdDSA (PEM: an Ed25519 public key, or a private one, which can sign too).
	Algorithm string     `koanf:"algorithm"`
	File      string     `koanf:"file"`
	Secret    run.Secret `koanf:"secret"`
}

// DefaultConfig lets this machine read and nobody else.
func DefaultConfig() Config {
	return Config{
		Anonymous: AnonymousLoopback, AnonymousScope: []string{"*:*"}, Keys: map[string]Key{}, Audience: "hashpivot", MaxTTL: 24 * time.Hour,
		TicketTTL: 30 * time.Second, Leeway: 5 * time.Second, Origins: []string{}, TrustedProxies: []string{},
	}
}

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	bad := func(key, format string, args ...any) error {
		return fmt.Errorf("auth.%s: %s", key, fmt.Sprintf(format, args...))
	}
	if !slices.Contains([]string{AnonymousLoopback, AnonymousEveryone, AnonymousNobody}, c.Anonymous) {
		return bad("anonymous", "%q is none of loopback, everyone, nobody", c.Anonymous)
	}
	if c.Anonymous != AnonymousNobody {
		if _, err := parseScope(c.AnonymousScope); err != nil {
			return bad("anonymous_scope", "%s", err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.Keys)) {
		k := c.Keys[id]
		switch {
		case id == "" || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "":
			return bad("keys", "the id %.32q has more than small letters, digits, - and _", id)
		case k.Algorithm != HS256 && k.Algorithm != EdDSA:
			return bad("keys."+id+".algorithm", "%.16q is neither HS256 nor EdDSA", k.Algorithm)
		case (k.File == "") == (k.Secret == ""):
			return bad("keys."+id, "give one of file and secret")
		}
	}
	if _, ok := c.Keys[c.SignWith]; !ok && c.SignWith != "" {
		return bad("sign_with", "%.32q is none of the keys", c.SignWith)
	}
	if c.MaxTTL < time.Second || c.MaxTTL > maxTTL {
		return bad("max_ttl", "%v is not from 1s to %v", c.MaxTTL, maxTTL)
	}
	if c.TicketTTL < time.Second || c.TicketTTL > maxTicketTTL {
		return bad("ticket_ttl", "%v is not from 1s to %v", c.TicketTTL, maxTicketTTL)
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		return bad("leeway", "%v is not from 0s to %v", c.Leeway, maxLeeway)
	}
	for _, o := range c.Origins {
		if _, err := parseOrigin(o); err != nil {
			return bad("origins", "%s", err)
		}
	}
	for _, p := range c.TrustedProxies {
		if _, err := parseNetwork(p); err != nil {
			return bad("trusted_proxies", "%.64q is neither an address nor a network as 10.0.0.0/8", p)
		}
	}
	return nil
}

func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// parseOrigin holds that s is exactly what a browser sends, and returns it in small letters.
func parseOrigin(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !strings.EqualFold(s, u.Scheme+"://"+u.Host) {
		return "", fmt.Errorf("%.80q is no origin as https://desk.example.com", s)
	}
	return strings.ToLower(s), nil
}

// key is a Key that was read.
type key struct {
	id        string
	algorithm string
	verify    any // []byte or ed25519.PublicKey
	sign      any // []byte or ed25519.PrivateKey; nil: cannot
}

func (k Key) read(id string) (*key, error) {
	text := []byte(k.Secret.Reveal())
	if k.File != "" {
		var err error
		if text, err = os.ReadFile(k.File); err != nil {
			return nil, fmt.Errorf("read key %s: %w", id, err)
		}
	}
	if k.Algorithm == HS256 {
		secret := []byte(strings.TrimSpace(string(text)))
		if strings.HasPrefix(string(secret), "-----BEGIN") {
			return nil, fmt.Errorf("read key %s: a PEM key is no secret for HS256; its algorithm is EdDSA", id)
		}
		if len(secret) < minSecretBytes {
			return nil, fmt.Errorf("read key %s: the secret has %d bytes; HS256 needs %d or more (openssl rand -base64 48)", id, len(secret), minSecretBytes)
		}
		return &key{id, HS256, secret, secret}, nil
	}
	private, public, err := readEd25519(text)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", id, err)
	}
	out := &key{id: id, algorithm: EdDSA, verify: public}
	if private != nil {
		out.sign = private
	}
	return out, nil
}

func readEd25519(text []byte) (ed25519.PrivateKey, ed25519.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, nil, errors.New("is no PEM (openssl genpkey -algorithm ed25519)")
	}
	var parsed any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "PUBLIC KEY":
		parsed, err = x509.ParsePKIXPublicKey(block.Bytes)
	default:
		return nil, nil, fmt.Errorf("a PEM block %.32q is neither PUBLIC KEY nor PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, nil, errors.New("the PEM block holds no key that can be read")
	}
	switch k := parsed.(type) {
	case ed25519.PrivateKey:
		return k, k.Public().(ed25519.PublicKey), nil
	case ed25519.PublicKey:
		return nil, k, nil
	}
	return nil, nil, fmt.Errorf("is a %T; EdDSA needs an Ed25519 key", parsed)
}
