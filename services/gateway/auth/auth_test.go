package auth_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret      = "a secret of the tests, long enough"
	otherSecret = "another secret of the tests, as long"
)

var now = time.Date(2026, 11, 25, 15, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

func withKey() auth.Config {
	c := auth.DefaultConfig()
	c.Keys = map[string]auth.Key{"main": {Algorithm: auth.HS256, Secret: secret}}
	return c
}

func verifier(t *testing.T, c auth.Config) *auth.Verifier {
	t.Helper()
	v, err := auth.New(c, nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// edKey writes a key pair as PEM files.
func edKey(t *testing.T) (private ed25519.PrivateKey, privateFile, publicFile string, publicPEM []byte) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte, err error) (string, []byte) {
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path, text
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	privateFile, _ = write("private.pem", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(public)
	publicFile, publicPEM = write("public.pem", "PUBLIC KEY", der, err)
	return private, privateFile, publicFile, publicPEM
}

// good are the claims that a test changes one of.
func good() jwt.MapClaims {
	return jwt.MapClaims{
		"sub": "desk", "aud": "hashpivot", "iat": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(), "scope": []string{"trades:CORZ,I*", "bars:*"},
	}
}

func sign(t *testing.T, method jwt.SigningMethod, key any, header map[string]any, claims jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, claims)
	for k, v := range header {
		tok.Header[k] = v
		if v == nil {
			delete(tok.Header, k)
		}
	}
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func change(c jwt.MapClaims, name string, value any) jwt.MapClaims {
	c[name] = value
	if value == nil {
		delete(c, name)
	}
	return c
}

func TestTokenIsTaken(t *testing.T) {
	private, privateFile, publicFile, _ := edKey(t)
	c := withKey()
	c.Issuer = "desk-login"
	c.Keys["old"] = auth.Key{Algorithm: auth.HS256, Secret: otherSecret}
	c.Keys["ed"] = auth.Key{Algorithm: auth.EdDSA, File: publicFile}
	c.SignWith = "main"
	v := verifier(t, c)
	claims := func() jwt.MapClaims { return change(good(), "iss", "desk-login") }
	f := func(what, token string) {
		t.Helper()
		g, err := v.Token(token)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		if g.Subject != "desk" || g.Anonymous || !g.Authenticated() || g.Identity() != "desk" || g.Expires.IsZero() {
			t.Errorf("%s: got %+v", what, g)
		}
	}
	hs := jwt.SigningMethodHS256
	f("with kid", sign(t, hs, []byte(secret), map[string]any{"kid": "main"}, claims()))
	f("without kid", sign(t, hs, []byte(secret), nil, claims()))
	f("of the key before, without kid", sign(t, hs, []byte(otherSecret), nil, claims()))
	f("EdDSA with kid", sign(t, jwt.SigningMethodEdDSA, private, map[string]any{"kid": "ed"}, claims()))
	f("EdDSA without kid", sign(t, jwt.SigningMethodEdDSA, private, nil, claims()))
	f("scope as one text", sign(t, hs, []byte(secret), nil, change(claims(), "scope", "trades:CORZ bars:*")))
	f("typ at+jwt", sign(t, hs, []byte(secret), map[string]any{"typ": "at+jwt"}, claims()))
	f("no typ", sign(t, hs, []byte(secret), map[string]any{"typ": nil}, claims()))
	f("several audiences", sign(t, hs, []byte(secret), nil, change(claims(), "aud", []string{"x", "hashpivot"})))
	f("expired within the leeway", sign(t, hs, []byte(secret), nil, change(claims(), "exp", now.Add(-3*time.Second).Unix())))
	f("issued ahead within the leeway", sign(t, hs, []byte(secret), nil, change(claims(), "iat", now.Add(3*time.Second).Unix())))

	// A private key signs and verifies.
	c = auth.DefaultConfig()
	c.Keys = map[string]auth.Key{"ed": {Algorithm: auth.EdDSA, File: privateFile}}
	v = verifier(t, c)
	token, g, err := v.Mint(auth.Order{Subject: "desk", Scope: []string{"*:*"}, TTL: time.Hour, Limits: auth.Limits{Connections: 2, MaxRate: 5}})
	if err != nil || !g.Expires.Equal(now.Add(time.Hour)) || g.Limits.Connections != 2 || g.Limits.MaxRate != 5 {
		t.Fatalf("got %+v, %v", g, err)
	}
	f("minted", token)
}

func TestTokenIsRefused(t *testing.T) {
	private, _, publicFile, publicPEM := edKey(t)
	c := withKey()
	c.Keys["ed"] = auth.Key{Algorithm: auth.EdDSA, File: publicFile}
	v := verifier(t, c)
	f := func(what, token, reason string) {
		t.Helper()
		g, err := v.Token(token)
		var e *live.Error
		if g != nil || !errors.As(err, &e) || e.Code != live.CodeUnauthorised || auth.Reason(err) != reason || len(e.Message) < 15 {
			t.Errorf("%s: got %+v, %v (reason %q), want reason %s", what, g, err, auth.Reason(err), reason)
		}
		if auth.Expired(err) != (reason == auth.ReasonExpired) || auth.Absent(err) {
			t.Errorf("%s: expired and absent are told wrongly", what)
		}
		if strings.Contains(err.Error(), secret) || len(token) > 20 && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error tells a secret: %v", what, err)
		}
	}
	hs, key := jwt.SigningMethodHS256, []byte(secret)
	f("alg none", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, good()), auth.ReasonForged)
	f("alg none with kid", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, map[string]any{"kid": "main"}, good()), auth.ReasonForged)
	f("alg NoNe", sign(t, hs, key, map[string]any{"alg": "NoNe"}, good()), auth.ReasonForged)
	f("no alg", sign(t, hs, key, map[string]any{"alg": nil}, good()), auth.ReasonForged)
	f("HS512 with the same secret", sign(t, jwt.SigningMethodHS512, key, nil, good()), auth.ReasonForged)
	f("another secret", sign(t, hs, []byte(otherSecret), nil, good()), auth.ReasonForged)
	f("unknown kid", sign(t, hs, key, map[string]any{"kid": "gone"}, good()), auth.ReasonForged)
	f("kid that is no text", sign(t, hs, key, map[string]any{"kid": 7}, good()), auth.ReasonForged)
	f("kid as a path", sign(t, hs, key, map[string]any{"kid": "../../dev/null"}, good()), auth.ReasonForged)
	f("the public key as a secret", sign(t, hs, publicPEM, map[string]any{"kid": "ed"}, good()), auth.ReasonForged)
	f("the public key's bytes as a secret", sign(t, hs, []byte(private.Public().(ed25519.PublicKey)), map[string]any{"kid": "ed"}, good()), auth.ReasonForged)
	f("a key in the header", sign(t, hs, []byte(otherSecret), map[string]any{"jwk": map[string]any{"kty": "oct", "k": "x"}}, good()), auth.ReasonForged)
	f("crit", sign(t, hs, key, map[string]any{"crit": []string{"b64"}, "b64": false}, good()), auth.ReasonMalformed)
	f("another type", sign(t, hs, key, map[string]any{"typ": "logout+jwt"}, good()), auth.ReasonMalformed)
	f("a ticket's type", sign(t, hs, key, map[string]any{"typ": "hashpivot-ticket+jwt"}, good()), auth.ReasonMalformed)
	whole := sign(t, hs, key, nil, good())
	f("no signature", whole[:strings.LastIndex(whole, ".")+1], auth.ReasonForged)
	f("a changed byte", whole[:len(whole)-2]+flip(whole[len(whole)-2])+whole[len(whole)-1:], auth.ReasonForged)
	f("empty", "", auth.ReasonMalformed)
	f("no JWT", "hunter2", auth.ReasonMalformed)
	f("dots", strings.Repeat(".", 5000), auth.ReasonMalformed)
	f("too long", strings.Repeat("x", 10_000), auth.ReasonMalformed)
	f("expired", sign(t, hs, key, nil, change(good(), "exp", now.Add(-6*time.Second).Unix())), auth.ReasonExpired)
	f("no exp", sign(t, hs, key, nil, change(good(), "exp", nil)), auth.ReasonClaims)
	f("exp as text", sign(t, hs, key, nil, change(good(), "exp", "tomorrow")), auth.ReasonMalformed)
	f("lives too long", sign(t, hs, key, nil, change(good(), "exp", now.Add(25*time.Hour).Unix())), auth.ReasonClaims)
	f("exp far beyond", sign(t, hs, key, nil, change(good(), "exp", 1e17)), auth.ReasonClaims)
	f("no iat", sign(t, hs, key, nil, change(good(), "iat", nil)), auth.ReasonClaims)
	f("issued in the future", sign(t, hs, key, nil, change(good(), "iat", now.Add(time.Minute).Unix())), auth.ReasonEarly)
	f("nbf", sign(t, hs, key, nil, change(good(), "nbf", now.Add(time.Minute).Unix())), auth.ReasonEarly)
	f("another audience", sign(t, hs, key, nil, change(good(), "aud", "wiki")), auth.ReasonAudience)
	f("no audience", sign(t, hs, key, nil, change(good(), "aud", nil)), auth.ReasonClaims)
	f("no subject", sign(t, hs, key, nil, change(good(), "sub", nil)), auth.ReasonClaims)
	f("a long subject", sign(t, hs, key, nil, change(good(), "sub", strings.Repeat("x", 200))), auth.ReasonClaims)
	f("no scope", sign(t, hs, key, nil, change(good(), "scope", nil)), auth.ReasonClaims)
	f("a scope of no channel", sign(t, hs, key, nil, change(good(), "scope", "trade:*")), auth.ReasonClaims)
	f("a scope without symbols", sign(t, hs, key, nil, change(good(), "scope", "trades:")), auth.ReasonClaims)
	f("a scope of numbers", sign(t, hs, key, nil, change(good(), "scope", []int{1})), auth.ReasonMalformed)
	f("a negative limit", sign(t, hs, key, nil, change(good(), "limits", map[string]any{"connections": -1})), auth.ReasonClaims)
	// A payload of null left the library without claims, which it then asked for their times.
	null := "eyJhbGciOiJIUzI1NiJ9.bnVsbA"
	sig, err := hs.Sign(null, key)
	if err != nil {
		t.Fatal(err)
	}
	f("null for claims", null+"."+jwt.NewWithClaims(hs, nil).EncodeSegment(sig), auth.ReasonMalformed)

	v = verifier(t, auth.DefaultConfig())
	f("no keys", whole, auth.ReasonForged)
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func TestConfigIsChecked(t *testing.T) {
	f := func(want string, change func(*auth.Config)) {
		t.Helper()
		c := withKey()
		change(&c)
		if _, err := auth.New(c, nil, clock); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	_, privateFile, publicFile, publicPEM := edKey(t)
	f("auth.anonymous", func(c *auth.Config) { c.Anonymous = "yes" })
	f("auth.anonymous_scope", func(c *auth.Config) { c.AnonymousScope = nil })
	f("auth.keys.main.algorithm", func(c *auth.Config) { c.Keys["main"] = auth.Key{Algorithm: "none", Secret: secret} })
	f("auth.keys.main: give one", func(c *auth.Config) { c.Keys["main"] = auth.Key{Algorithm: auth.HS256} })
	f("auth.keys.main: give one", func(c *auth.Config) { c.Keys["main"] = auth.Key{Algorithm: auth.HS256, Secret: secret, File: "x"} })
	f("small letters", func(c *auth.Config) { c.Keys["a.b"] = auth.Key{Algorithm: auth.HS256, Secret: secret} })
	f("needs 32", func(c *auth.Config) { c.Keys["main"] = auth.Key{Algorithm: auth.HS256, Secret: "short"} })
	f("is no secret", func(c *auth.Config) { c.Keys["main"] = auth.Key{Algorithm: auth.HS256, Secret: run.Secret(publicPEM)} })
	f("is no PEM", func(c *auth.Config) { c.Keys["main"] = auth.Key{Algorithm: auth.EdDSA, Secret: secret} })
	f("no such file", func(c *auth.Config) { c.Keys["main"] = auth.Key{Algorithm: auth.EdDSA, File: publicFile + "x"} })
	f("several keys can sign", func(c *auth.Config) { c.Keys["ed"] = auth.Key{Algorithm: auth.EdDSA, File: privateFile} })
	f("auth.sign_with", func(c *auth.Config) { c.SignWith = "gone" })
	f("cannot sign", func(c *auth.Config) {
		c.Keys["ed"], c.SignWith = auth.Key{Algorithm: auth.EdDSA, File: publicFile}, "ed"
	})
	f("auth.max_ttl", func(c *auth.Config) { c.MaxTTL = 0 })
	f("auth.ticket_ttl", func(c *auth.Config) { c.TicketTTL = time.Hour })
	f("auth.leeway", func(c *auth.Config) { c.Leeway = time.Hour })
	f("auth.origins", func(c *auth.Config) { c.Origins = []string{"*"} })
	f("auth.origins", func(c *auth.Config) { c.Origins = []string{"https://desk.example.com/page"} })
	f("auth.trusted_proxies", func(c *auth.Config) { c.TrustedProxies = []string{"proxy"} })
}

func TestMintRefuses(t *testing.T) {
	f := func(v *auth.Verifier, want string, o auth.Order) {
		t.Helper()
		if _, _, err := v.Mint(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	v := verifier(t, withKey())
	f(v, "a life of 48h0m0s", auth.Order{Subject: "desk", Scope: []string{"*:*"}, TTL: 48 * time.Hour})
	f(v, "scope", auth.Order{Subject: "desk", Scope: []string{"all"}, TTL: time.Hour})
	f(v, "subject", auth.Order{Scope: []string{"*:*"}, TTL: time.Hour})
	f(verifier(t, auth.DefaultConfig()), "no key can sign", auth.Order{Subject: "desk", Scope: []string{"*:*"}, TTL: time.Hour})
	_, _, publicFile, _ := edKey(t)
	c := auth.DefaultConfig()
	c.Keys["ed"] = auth.Key{Algorithm: auth.EdDSA, File: publicFile}
	f(verifier(t, c), "no key can sign", auth.Order{Subject: "desk", Scope: []string{"*:*"}, TTL: time.Hour})
}

// TestConfigIsLoadedAndPrinted goes through the layers that an operator uses: keys are a map, and their secrets must not print.
func TestConfigIsLoadedAndPrinted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hashpivot.yaml")
	text := "auth:\n  sign_with: main\n  anonymous_scope: [\"trades:CORZ,IREN\", \"bars:*\"]\n  keys:\n    main: {algorithm: HS256, secret: \"" + secret + "\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := struct {
		Auth auth.Config `koanf:"auth"`
	}{auth.DefaultConfig()}
	err := run.Load(&c, run.Source{
		File: file, Environ: []string{"HASHPIVOT_AUTH__KEYS__OLD__SECRET=" + otherSecret},
		Set: []string{"auth.keys.old.algorithm=HS256", "auth.max_ttl=1h", "auth.origins=https://a.example.com,https://b.example.com"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Auth.Keys["main"].Secret != secret || c.Auth.Keys["old"].Secret != otherSecret || c.Auth.MaxTTL != time.Hour || len(c.Auth.Origins) != 2 ||
		len(c.Auth.AnonymousScope) != 2 || c.Auth.Audience != "hashpivot" {
		t.Errorf("got %+v", c.Auth)
	}
	verifier(t, c.Auth)
	printed, err := run.Print(c)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(printed), "of the tests") || !strings.Contains(string(printed), "****") || strings.Contains(string(printed), "listen") {
		t.Errorf("printed:\n%s", printed)
	}
}
