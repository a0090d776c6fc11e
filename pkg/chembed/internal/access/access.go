// Package access holds who may connect and what they may do. The engine knows no users of its own.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/libchdb"
)

// Config is a user's.
type Config struct {
	Name                     string
	Password, SHA256, Bcrypt string // at most one; none: only an empty password is right
	ReadOnly                 int    // 0, 1 or 2, as ClickHouse's setting readonly
	Databases                []string
	Networks                 []string
	Settings                 map[string]string
	Bounds                   map[string]Bound
	Quotas                   []Quota
}

// Bound limits a setting.
type Bound struct {
	Min, Max string
	Const    bool
}

// Quota limits what is done in an interval; zero is no limit.
type Quota struct {
	Interval      time.Duration
	Queries       uint64
	Inserts       uint64
	Errors        uint64
	ReadRows      uint64
	ResultRows    uint64
	WrittenBytes  uint64
	ExecutionTime time.Duration
}

// Control knows the accounts.
type Control struct {
	accounts map[string]*Account
}

// Account is a user with what was used of the quotas.
type Account struct {
	Config
	sum      []byte // of SHA256
	networks []netip.Prefix

	mu    sync.Mutex
	spent []spent // by quota
	// known is the last password that bcrypt took, as a digest: bcrypt is slow by intent, and HTTP asks for it with every query.
	known []byte
}

type spent struct {
	begin time.Time
	used  Quota
}

// New checks the configuration of users. Its errors name the user and never the password.
func New(users []Config) (*Control, error) {
	c := &Control{accounts: map[string]*Account{}}
	for _, u := range users {
		a := &Account{Config: u, spent: make([]spent, len(u.Quotas))}
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("user %q: %w", u.Name, err)
		}
		c.accounts[u.Name] = a
	}
	return c, nil
}

func (a *Account) check() error {
	if a.Name == "" {
		return fmt.Errorf("a user needs a name")
	}
	given := 0
	for _, p := range []string{a.Password, a.SHA256, a.Bcrypt} {
		if p != "" {
			given++
		}
	}
	if given > 1 {
		return fmt.Errorf("more than one kind of password is given")
	}
	if a.SHA256 != "" {
		sum, err := hex.DecodeString(a.SHA256)
		if err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("the sha256 of the password is not of 64 hexadecimal digits")
		}
		a.sum = sum
	}
	if a.Bcrypt != "" {
		if _, err := bcrypt.Cost([]byte(a.Bcrypt)); err != nil {
			return fmt.Errorf("the bcrypt of the password is none: it begins with $2a$, $2b$ or $2y$")
		}
	}
	if a.ReadOnly < 0 || a.ReadOnly > 2 {
		return fmt.Errorf("readonly is 0, 1 or 2, not %d", a.ReadOnly)
	}
	for _, n := range a.Networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			addr, aerr := netip.ParseAddr(n)
			if aerr != nil {
				return fmt.Errorf("network %q is neither an address nor one with its prefix (10.0.0.0/8)", n)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		a.networks = append(a.networks, p.Masked())
	}
	for name, b := range a.Bounds {
		for _, v := range []string{b.Min, b.Max} {
			if v == "" {
				continue
			}
			if _, err := number(v); err != nil {
				return fmt.Errorf("bound of %s: %q is no number", name, v)
			}
		}
	}
	for i, q := range a.Quotas {
		if q.Interval < time.Second {
			return fmt.Errorf("quota %d: its interval is below a second", i+1)
		}
	}
	return nil
}

func refuse(code int, name, format string, args ...any) error {
	return &libchdb.Error{Code: code, Name: name, Text: fmt.Sprintf(format, args...)}
}

// Login finds the account of who comes with that password from that address (host:port). What exactly was wrong is not told.
func (c *Control) Login(user, password, remote string) (*Account, error) {
	if user == "" {
		user = "default"
	}
	a := c.accounts[user]
	if a == nil || !a.fromNetwork(remote) || !a.password(password) {
		return nil, refuse(516, "AUTHENTICATION_FAILED", "%s: Authentication failed: password is incorrect, or there is no user with such name.", user)
	}
	return a, nil
}

func (a *Account) fromNetwork(remote string) bool {
	if len(a.networks) == 0 {
		return true
	}
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap()
	return slices.ContainsFunc(a.networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func (a *Account) password(given string) bool {
	digest := sha256.Sum256([]byte(given))
	switch {
	case a.sum != nil:
		return subtle.ConstantTimeCompare(a.sum, digest[:]) == 1
	case a.Bcrypt != "":
		a.mu.Lock()
		known := a.known != nil && subtle.ConstantTimeCompare(a.known, digest[:]) == 1
		a.mu.Unlock()
		if known {
			return true
		}
		if len(given) > 72 || bcrypt.CompareHashAndPassword([]byte(a.Bcrypt), []byte(given)) != nil {
			return false
		}
		a.mu.Lock()
		a.known = digest[:]
		a.mu.Unlock()
		return true
	case a.Password == "":
		return given == ""
	}
	want := sha256.Sum256([]byte(a.Password))
	return subtle.ConstantTimeCompare(want[:], digest[:]) == 1
}

// Restricted says that statements of this account must be looked into before they run.
func (a *Account) Restricted() bool {
	return a.ReadOnly > 0 || len(a.Databases) > 0 || len(a.Bounds) > 0
}

// MayUse says whether a database is the account's.
func (a *Account) MayUse(database string) bool {
	return len(a.Databases) == 0 || slices.Contains(a.Databases, database)
}

// CheckSetting says whether the account may set name to value; current is what the setting is without the account's doing.
func (a *Account) CheckSetting(name, value, current string) error {
	if len(a.Databases) > 0 && confining[name] {
		return refuse(452, "SETTING_CONSTRAINT_VIOLATION", "Setting %s should not be changed", name)
	}
	if same(value, current) {
		return nil
	}
	switch {
	case a.ReadOnly == 1:
		return refuse(164, "READONLY", "Cannot modify '%s' setting in readonly mode", name)
	case name == "readonly" && a.ReadOnly > 0:
		return refuse(164, "READONLY", "Cannot modify 'readonly' setting in readonly mode")
	}
	if (len(a.Databases) > 0 || len(a.Bounds) > 0) && ours[name] {
		return refuse(452, "SETTING_CONSTRAINT_VIOLATION", "Setting %s should not be changed", name)
	}
	b, ok := a.Bounds[name]
	if !ok {
		return nil
	}
	if b.Const {
		return refuse(452, "SETTING_CONSTRAINT_VIOLATION", "Setting %s should not be changed", name)
	}
	v, err := number(value)
	if err != nil {
		return refuse(452, "SETTING_CONSTRAINT_VIOLATION", "Setting %s has bounds and is no number", name)
	}
	if low, err := number(b.Min); err == nil && v < low {
		return refuse(452, "SETTING_CONSTRAINT_VIOLATION", "Setting %s shouldn't be less than %s", name, b.Min)
	}
	// 0 is "no limit" of most settings that have one: it lies beyond every maximum.
	if high, err := number(b.Max); err == nil && (v > high || v < 0 || v == 0 && limits(name)) {
		return refuse(452, "SETTING_CONSTRAINT_VIOLATION", "Setting %s shouldn't be greater than %s", name, b.Max)
	}
	return nil
}

// ours are the settings that would lead around an account's limits.
var ours = map[string]bool{"dialect": true, "compatibility": true, "profile": true}

// confining are the settings that keep an account within its databases.
var confining = map[string]bool{"additional_table_filters": true, "input_format_values_interpret_expressions": true}

// limits says whether 0 means no limit for a setting.
func limits(name string) bool { return strings.HasPrefix(name, "max_") }

func same(a, b string) bool {
	if a == b {
		return true
	}
	x, err1 := number(a)
	y, err2 := number(b)
	return err1 == nil && err2 == nil && x == y
}

// number reads a setting's value: 10, 1e6, 0.5, true, 2Gi.
func number(s string) (float64, error) {
	s = strings.TrimSpace(strings.Trim(strings.TrimSpace(s), "'"))
	switch strings.ToLower(s) {
	case "true":
		return 1, nil
	case "false":
		return 0, nil
	}
	for suffix, by := range map[string]float64{
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
	} {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			if v, err := strconv.ParseFloat(rest, 64); err == nil {
				return v * by, nil
			}
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	if err == nil && math.IsNaN(v) {
		return 0, strconv.ErrSyntax
	}
	return v, err
}
