package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// engineConfig is the embedded ClickHouse as a server for others: users, limits, TLS.
type engineConfig struct {
	NativeTLSAddr string `koanf:"native_tls_addr"` // listens with TLS; empty: nowhere
	HTTPSAddr     string `koanf:"https_addr"`
	TLSCert       string `koanf:"tls_cert"` // PEM files
	TLSKey        string `koanf:"tls_key"`
	// TLSClientCA, if any, lets in with TLS only who shows a certificate that one of its authorities has signed.
	TLSClientCA string `koanf:"tls_client_ca"`

	MaxConnections   int           `koanf:"max_connections"`        // of each protocol
	MaxQueries       int           `koanf:"max_concurrent_queries"` // more wait for queue_wait
	QueueWait        time.Duration `koanf:"queue_wait"`
	MaxExecutionTime time.Duration `koanf:"max_execution_time"` // of a query; 0: no limit
	MaxResultRows    uint64        `koanf:"max_result_rows"`
	MaxRowsToRead    uint64        `koanf:"max_rows_to_read"`

	// Users by name; none: "default" without password, or clickhouse.user with clickhouse.password where that is set.
	Users map[string]engineUser `koanf:"users"`
}

// engineUser is one who may connect to the embedded ClickHouse.
type engineUser struct {
	Password   run.Secret             `koanf:"password"`
	SHA256     run.Secret             `koanf:"password_sha256"`
	Bcrypt     run.Secret             `koanf:"password_bcrypt"`
	NoPassword bool                   `koanf:"no_password"`
	ReadOnly   int                    `koanf:"readonly"`
	Databases  []string               `koanf:"databases"`
	Networks   []string               `koanf:"networks"`
	Settings   map[string]string      `koanf:"settings"`
	Bounds     map[string]engineBound `koanf:"bounds"`
	Quotas     []engineQuota          `koanf:"quotas"`
	// Rest is what is none of these: a misspelt password must not leave a user without one.
	Rest map[string]any `koanf:",remain"`
}

type engineBound struct {
	Min   string         `koanf:"min"`
	Max   string         `koanf:"max"`
	Const bool           `koanf:"const"`
	Rest  map[string]any `koanf:",remain"`
}

type engineQuota struct {
	Interval      time.Duration  `koanf:"interval"`
	Queries       uint64         `koanf:"queries"`
	Inserts       uint64         `koanf:"inserts"`
	Errors        uint64         `koanf:"errors"`
	ReadRows      uint64         `koanf:"read_rows"`
	ResultRows    uint64         `koanf:"result_rows"`
	WrittenBytes  uint64         `koanf:"written_bytes"`
	ExecutionTime time.Duration  `koanf:"execution_time"`
	Rest          map[string]any `koanf:",remain"`
}

func defaultEngineConfig() engineConfig {
	d := chembed.DefaultConfig()
	return engineConfig{MaxConnections: d.MaxConnections, MaxQueries: d.MaxConcurrentQueries, QueueWait: d.QueueWait, Users: map[string]engineUser{}}
}

func (c engineConfig) validate() error {
	unknown := func(key string, rest map[string]any) error {
		for _, name := range slices.Sorted(maps.Keys(rest)) {
			return fmt.Errorf("%s: unknown key %s", key, name)
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		u, key := c.Users[name], "clickhouse.server.users."+name
		if err := unknown(key, u.Rest); err != nil {
			return err
		}
		for _, b := range u.Bounds {
			if err := unknown(key+".bounds", b.Rest); err != nil {
				return err
			}
		}
		for _, q := range u.Quotas {
			if err := unknown(key+".quotas", q.Rest); err != nil {
				return err
			}
		}
		if given := u.Password != "" || u.SHA256 != "" || u.Bcrypt != ""; given == u.NoPassword {
			return fmt.Errorf("%s: give one of password, password_sha256 and password_bcrypt, or no_password: true", key)
		}
	}
	return nil
}

// engine is the embedded ClickHouse's configuration, with its data under dataDir.
func (c clickhouseConfig) engine(dataDir string, log *slog.Logger) (chembed.Config, error) {
	e := chembed.DefaultConfig()
	e.DataDir, e.NativeAddr, e.HTTPAddr = filepath.Join(dataDir, "clickhouse"), c.NativeAddr, c.HTTPAddr
	e.LibraryPath, e.MaxMemory, e.MaxMemoryPerQuery = c.Library, c.MaxMemory, c.MaxMemoryUsage
	e.Logger = log.With("component", "clickhouse")
	e.Settings = map[string]string{"asterisk_include_alias_columns": "1"} // SELECT * has the columns of trades and quotes that are computed, too
	s := c.Server
	e.NativeTLSAddr, e.HTTPSAddr, e.TLSCertFile, e.TLSKeyFile = s.NativeTLSAddr, s.HTTPSAddr, s.TLSCert, s.TLSKey
	e.TLSClientCAFile = s.TLSClientCA
	e.MaxConnections, e.MaxConcurrentQueries, e.QueueWait = s.MaxConnections, s.MaxQueries, s.QueueWait
	e.MaxExecutionTime, e.MaxResultRows, e.MaxRowsToRead = s.MaxExecutionTime, s.MaxResultRows, s.MaxRowsToRead
	e.Users = map[string]chembed.User{}
	for name, u := range s.Users {
		user := chembed.User{
			Password: u.Password.Reveal(), PasswordSHA256: u.SHA256.Reveal(), PasswordBcrypt: u.Bcrypt.Reveal(),
			ReadOnly: u.ReadOnly, Databases: u.Databases, Networks: u.Networks, Settings: u.Settings, Bounds: map[string]chembed.Bound{},
		}
		for setting, b := range u.Bounds {
			user.Bounds[setting] = chembed.Bound{Min: b.Min, Max: b.Max, Const: b.Const}
		}
		for _, q := range u.Quotas {
			user.Quotas = append(user.Quotas, chembed.Quota{
				Interval: q.Interval, Queries: q.Queries, Inserts: q.Inserts, Errors: q.Errors, ReadRows: q.ReadRows, ResultRows: q.ResultRows,
				WrittenBytes: q.WrittenBytes, ExecutionTime: q.ExecutionTime,
			})
		}
		e.Users[name] = user
	}
	if c.Password != "" {
		if _, ok := e.Users[c.User]; ok {
			return e, run.Usage(fmt.Errorf("clickhouse.password is that of the user %s, who is among clickhouse.server.users too: say it in one place", c.User))
		}
		e.Users[c.User] = chembed.User{Password: c.Password.Reveal()}
	}
	return e, run.Usage(e.Validate())
}

type clickhouseCmd struct {
	Native string `help:"Where the native protocol listens (clickhouse.native_addr)." placeholder:"ADDR"`
	HTTP   string `name:"http" help:"Where HTTP listens (clickhouse.http_addr)." placeholder:"ADDR"`
	Lib    string `name:"library" help:"libchdb.so (clickhouse.library)." placeholder:"FILE"`
}

// Run is an embedded ClickHouse alone, until a signal. It has the data directory of up, and the same tables.
func (c *clickhouseCmd) Run(a *app) error {
	for key, v := range map[string]string{"native_addr": c.Native, "http_addr": c.HTTP, "library": c.Lib} {
		if v != "" {
			a.cli.Set = append(a.cli.Set, "clickhouse."+key+"="+v)
		}
	}
	cfg, err := a.load("")
	if err != nil {
		return err
	}
	if len(cfg.ClickHouse.Addr) > 0 {
		return run.Usage(errors.New("clickhouse.addr names an external ClickHouse: hashpivot clickhouse is the embedded one; leave it empty"))
	}
	if err := a.logger(cfg); err != nil {
		return err
	}
	e, err := cfg.ClickHouse.engine(cfg.DataDir, a.log)
	if err != nil {
		return err
	}
	if len(e.Users) == 0 {
		for _, addr := range []string{e.NativeAddr, e.HTTPAddr} {
			if !onLoopback(addr) {
				a.log.Warn("ClickHouse listens beyond this machine and asks for no password; set clickhouse.server.users, or listen on 127.0.0.1", "addr", addr)
			}
		}
	}
	srv, err := chembed.Start(a.ctx, e)
	if err != nil {
		return err
	}
	a.printf("%s\n", clickhouseAddresses(srv, a.cli.JSON))
	select {
	case <-a.ctx.Done():
	case <-srv.Done():
		return errors.New("the embedded ClickHouse ended by itself")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), 8*time.Second)
	defer cancel()
	return srv.Close(ctx)
}

// clickhouseAddresses is one line for a person, or JSON for a program: where the server listens, once it does.
func clickhouseAddresses(srv *chembed.Server, asJSON bool) string {
	type addr struct{ name, addr string }
	all := []addr{{"native", srv.NativeAddr()}, {"http", srv.HTTPAddr()}, {"native_tls", srv.NativeTLSAddr()}, {"https", srv.HTTPSAddr()}}
	var parts []string
	for _, x := range all {
		switch {
		case x.addr == "":
		case asJSON:
			parts = append(parts, fmt.Sprintf("%q:%q", x.name, x.addr))
		default:
			parts = append(parts, x.name+" "+x.addr)
		}
	}
	if asJSON {
		return "{" + strings.Join(parts, ",") + fmt.Sprintf(",%q:%q}", "version", srv.Version())
	}
	return "ClickHouse " + srv.Version() + " is up: " + strings.Join(parts, ", ")
}

func onLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
