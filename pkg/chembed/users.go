package chembed

import (
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/access"
)

// User is one who may connect. The engine itself knows no users: what is said here is enforced in front of it.
type User struct {
	// Password, PasswordSHA256 (64 hexadecimal digits) or PasswordBcrypt; at most one of them. With none of them the empty password is the right one.
	Password, PasswordSHA256, PasswordBcrypt string

	// ReadOnly as ClickHouse's setting readonly: 1 reads and changes no setting, 2 reads and may change settings (but this one). Neither reads anything
	// but tables: the table functions that reach files, addresses and programs are refused.
	ReadOnly int
	// Databases that may be used, beside what clients read of system when they connect. Empty: all of them. A user with some may read and write in them,
	// and create and drop tables, but no table that reaches out of the engine.
	Databases []string
	// Networks from which this user may come, as CIDR (10.0.0.0/8) or address. Empty: from everywhere.
	Networks []string

	// Settings are in force for every query, the user's own come over them.
	Settings map[string]string
	// Bounds of the settings that the user may choose.
	Bounds map[string]Bound
	// Quotas by interval.
	Quotas []Quota
}

// Bound limits a setting.
type Bound struct {
	Min, Max string // numbers; empty: no limit
	Const    bool   // not to be changed at all
}

// Quota limits what a user may do in an interval; zero is no limit. Intervals begin at multiples of their length since 1970, as ClickHouse's.
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

// accounts is the configuration of users as the child takes it.
func (c Config) accounts() []access.Config {
	if len(c.Users) == 0 {
		return []access.Config{{Name: "default"}}
	}
	out := make([]access.Config, 0, len(c.Users))
	for name, u := range c.Users {
		a := access.Config{
			Name: name, Password: u.Password, SHA256: u.PasswordSHA256, Bcrypt: u.PasswordBcrypt, ReadOnly: u.ReadOnly,
			Databases: u.Databases, Networks: u.Networks, Settings: u.Settings, Bounds: map[string]access.Bound{},
		}
		for setting, b := range u.Bounds {
			a.Bounds[setting] = access.Bound(b)
		}
		for _, q := range u.Quotas {
			a.Quotas = append(a.Quotas, access.Quota(q))
		}
		out = append(out, a)
	}
	return out
}
