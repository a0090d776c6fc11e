package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// Types of tokens, in the typ header: a ticket is no token and a token no ticket, though one key signs both.
const (
	typeToken  = "JWT"
	typeTicket = "hashpivot-ticket+jwt"
)

// Bounds of a token.
const (
	maxTokenLen   = 8 << 10
	maxSubjectLen = 128
)

// Verifier decides who may do what. Its methods may be called at the same time.
type Verifier struct {
	cfg       Config
	once      Once
	now       func() time.Time
	keys      map[string]*key
	signer    *key // nil: nothing here can sign
	parser    *jwt.Parser
	anonymous *Grant
	origins   map[string]bool
	proxies   []netip.Prefix
	loopback  bool // the listener
}

// New reads the keys. A nil once redeems tickets in memory, which is enough for one gateway.
func New(cfg Config, once Once, now func() time.Time) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if once == nil {
		once = NewMemory(now)
	}
	v := &Verifier{cfg: cfg, once: once, now: now, keys: map[string]*key{}, origins: map[string]bool{}, loopback: isLoopbackHost(cfg.Listen)}
	for _, id := range slices.Sorted(maps.Keys(cfg.Keys)) {
		k, err := cfg.Keys[id].read(id)
		if err != nil {
			return nil, fmt.Errorf("auth.keys: %w", err)
		}
		v.keys[id] = k
	}
	if err := v.chooseSigner(); err != nil {
		return nil, err
	}
	for _, o := range cfg.Origins {
		origin, _ := parseOrigin(o) // validated
		v.origins[origin] = true
	}
	for _, p := range cfg.TrustedProxies {
		network, _ := parseNetwork(p) // validated
		v.proxies = append(v.proxies, network)
	}
	if cfg.Anonymous != AnonymousNobody {
		scope, _ := parseScope(cfg.AnonymousScope) // validated
		v.anonymous = &Grant{Anonymous: true, scope: scope}
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods([]string{HS256, EdDSA}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(cfg.Leeway),
		jwt.WithTimeFunc(now), jwt.WithStrictDecoding(),
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		options = append(options, jwt.WithAudience(cfg.Audience))
	}
	v.parser = jwt.NewParser(options...)
	return v, nil
}

// Again reads the keys once more, by another configuration. Tickets that were given out stay good once, where a key of theirs is still there.
func (v *Verifier) Again(cfg Config) (*Verifier, error) {
	cfg.Listen = v.cfg.Listen
	next, err := New(cfg, v.once, v.now)
	if err != nil {
		return nil, err
	}
	if len(v.keys) == 0 && len(next.keys) == 0 {
		next.signer = v.signer // the process's own
	}
	return next, nil
}

// Withdraws reports whether next may refuse what v has granted: a key is gone or is another, or what a token must say or anonymous readers may do has changed. What
// only adds withdraws nothing.
func (v *Verifier) Withdraws(next *Verifier) bool {
	for id, k := range v.keys {
		other := next.keys[id]
		if other == nil || other.algorithm != k.algorithm || !reflect.DeepEqual(other.verify, k.verify) {
			return true
		}
	}
	a, b := v.cfg, next.cfg
	return a.Anonymous != b.Anonymous || !slices.Equal(a.AnonymousScope, b.AnonymousScope) || a.Issuer != b.Issuer || a.Audience != b.Audience || b.MaxTTL < a.MaxTTL ||
		!slices.Equal(a.TrustedProxies, b.TrustedProxies) || slices.ContainsFunc(a.Origins, func(o string) bool { return !slices.Contains(b.Origins, o) })
}

// claims of a token, and of a ticket, which carries the grant on.
type claims struct {
	jwt.RegisteredClaims
	Scope  scopeClaim `json:"scope"`
	Limits Limits     `json:"limits,omitzero"`
	// Of a ticket: whose grant it carries on, and until when.
	Anonymous bool             `json:"anonymous,omitempty"`
	Until     *jwt.NumericDate `json:"until,omitempty"`
}

// scopeClaim is a list of texts, or one text with spaces between, as OAuth has it.
type scopeClaim []string

// UnmarshalJSON implements json.Unmarshaler.
func (s *scopeClaim) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*s = strings.Fields(one)
		return nil
	}
	return json.Unmarshal(data, (*[]string)(s))
}

// Token reads a token. The error is an *live.Error (unauthorised) with a Reason.
func (v *Verifier) Token(token string) (*Grant, error) {
	c, err := v.parse(token, typeToken)
	if err != nil {
		return nil, err
	}
	if c.IssuedAt == nil {
		return nil, refuse(ReasonClaims, "the token does not say when it was issued (iat)")
	}
	if life := c.ExpiresAt.Sub(c.IssuedAt.Time); life > v.cfg.MaxTTL {
		return nil, refuse(ReasonClaims, "the token lives longer than the %v that this gateway takes", v.cfg.MaxTTL)
	}
	if c.Subject == "" || len(c.Subject) > maxSubjectLen {
		return nil, refuse(ReasonClaims, "the token's subject (sub) is missing or longer than %d bytes", maxSubjectLen)
	}
	return c.grant(c.ExpiresAt.Time, false)
}

func (c *claims) grant(expires time.Time, anonymous bool) (*Grant, error) {
	scope, err := parseScope(c.Scope)
	if err != nil {
		return nil, refuse(ReasonClaims, "the token's scope cannot be read: %s", err)
	}
	if l := c.Limits; l.Connections < 0 || l.Subscriptions < 0 || l.MaxRate < 0 {
		return nil, refuse(ReasonClaims, "a limit of the token is negative")
	}
	return &Grant{Subject: c.Subject, Anonymous: anonymous, Expires: expires, Limits: c.Limits, scope: scope}, nil
}

// parse verifies the signature, the times, issuer and audience.
func (v *Verifier) parse(token, typ string) (*claims, error) {
	if len(token) > maxTokenLen {
		return nil, refuse(ReasonMalformed, "the token has %d bytes; at most %d are read", len(token), maxTokenLen)
	}
	if len(v.keys) == 0 && v.signer == nil || typ == typeToken && len(v.keys) == 0 {
		return nil, refuse(ReasonForged, "this gateway has no keys, so no token is valid here; its operator sets gateway.auth.keys")
	}
	var c claims
	_, err := v.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) { return v.keysFor(t, typ) })
	if err == nil {
		return &c, nil
	}
	return nil, v.refusal(err, &c)
}

var errOtherType = errors.New("of another type")

// keysFor are the keys that may have signed the token: the one it names, or all of its algorithm.
func (v *Verifier) keysFor(t *jwt.Token, typ string) (any, error) {
	if got, ok := t.Header["typ"].(string); typ == typeTicket && got != typ || typ == typeToken && ok && !strings.EqualFold(got, typeToken) && got != "at+jwt" {
		return nil, errOtherType
	}
	// What crit lists must be understood, and nothing that could stand there is.
	if _, ok := t.Header["crit"]; ok {
		return nil, errOtherType
	}
	if !isObject(t.Raw) {
		return nil, errOtherType
	}
	keys := v.keys
	if len(keys) == 0 {
		keys = map[string]*key{v.signer.id: v.signer}
	}
	var set jwt.VerificationKeySet
	kid, named := t.Header["kid"]
	for _, k := range keys {
		if k.algorithm == t.Method.Alg() && (!named || kid == k.id) {
			set.Keys = append(set.Keys, k.verify)
		}
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("no key of this id and algorithm")
	}
	return set, nil
}

// isObject reports whether the payload is a JSON object: null would leave the library without claims to validate.
func isObject(token string) bool {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	return err == nil && bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{"))
}

// refusal says in a sentence what the library found; its own texts speak to programmers. Only what is told after the signature was found right
// says anything about the claims.
func (v *Verifier) refusal(err error, c *claims) error {
	switch {
	case errors.Is(err, errOtherType):
		return refuse(ReasonMalformed, "this is not the type of token that is wanted here")
	case errors.Is(err, jwt.ErrTokenMalformed):
		return refuse(ReasonMalformed, "the token is no JWT")
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return refuse(ReasonForged, "the token is signed with no key and algorithm (HS256, EdDSA) that this gateway knows")
	case errors.Is(err, jwt.ErrTokenExpired):
		return refuse(ReasonExpired, "the token expired at %s; get a new one", c.ExpiresAt.UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrTokenNotValidYet), errors.Is(err, jwt.ErrTokenUsedBeforeIssued):
		return refuse(ReasonEarly, "the token is not valid yet; are the clocks right?")
	case errors.Is(err, jwt.ErrTokenInvalidAudience), errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return refuse(ReasonAudience, "the token is of another issuer or for another audience (iss, aud)")
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return refuse(ReasonClaims, "a claim that is needed is missing; sub, iat, exp and scope are%s", v.also())
	}
	return refuse(ReasonClaims, "the token's claims are not valid")
}

// also names the claims that this gateway's configuration asks for.
func (v *Verifier) also() string {
	var of []string
	if v.cfg.Issuer != "" {
		of = append(of, "iss")
	}
	if v.cfg.Audience != "" {
		of = append(of, "aud")
	}
	if len(of) == 0 {
		return ""
	}
	return ", and here " + strings.Join(of, " and ")
}

// Order is what a new token shall say.
type Order struct {
	Subject string
	Scope   []string
	TTL     time.Duration
	Limits  Limits
}

// ErrCannotSign says that no key here can sign.
var ErrCannotSign = errors.New("no key can sign: gateway.auth.keys needs an HS256 secret or a private EdDSA key, and gateway.auth.sign_with its id where several can")

// Mint signs a new token, and checks that this gateway would take it.
func (v *Verifier) Mint(o Order) (string, *Grant, error) {
	if v.signer == nil || len(v.keys) == 0 {
		return "", nil, ErrCannotSign
	}
	if o.TTL < time.Second || o.TTL > v.cfg.MaxTTL {
		return "", nil, fmt.Errorf("a life of %v is not from 1s to the %v of gateway.auth.max_ttl", o.TTL, v.cfg.MaxTTL)
	}
	now := v.now()
	c := claims{Scope: o.Scope, Limits: o.Limits}
	c.Subject, c.ID = o.Subject, newID()
	c.IssuedAt, c.ExpiresAt = jwt.NewNumericDate(now), jwt.NewNumericDate(now.Add(o.TTL))
	token, err := v.sign(&c, typeToken)
	if err != nil {
		return "", nil, err
	}
	g, err := v.Token(token)
	if err != nil {
		return "", nil, fmt.Errorf("check new token: %s", live.AsError(err).Message)
	}
	return token, g, nil
}

func (v *Verifier) sign(c *claims, typ string) (string, error) {
	c.Issuer = v.cfg.Issuer
	if v.cfg.Audience != "" {
		c.Audience = jwt.ClaimStrings{v.cfg.Audience}
	}
	t := jwt.NewWithClaims(jwt.GetSigningMethod(v.signer.algorithm), c)
	t.Header["typ"], t.Header["kid"] = typ, v.signer.id
	signed, err := t.SignedString(v.signer.sign)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed, nil
}
