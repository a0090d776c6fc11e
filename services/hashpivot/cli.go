package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/alecthomas/kong"

	"github.com/hashpivot/hashpivot/pkg/bus"
	"github.com/hashpivot/hashpivot/pkg/certs"
	"github.com/hashpivot/hashpivot/pkg/chembed"
	"github.com/hashpivot/hashpivot/pkg/run"
)

// cli is the command line. Every key of the configuration can be given by --set; the flags are the ones that people need daily.
type cli struct {
	Config   string   `short:"c" help:"YAML configuration file." placeholder:"FILE"`
	DataDir  string   `help:"Directory of the streams and the database (default: data/<mode>)." placeholder:"DIR"`
	Set      []string `help:"Set any key of the configuration; may be repeated." placeholder:"KEY=VALUE" sep:"none"`
	Free     bool     `name:"free-ports" help:"Listen on any free ports instead of the usual ones."`
	JSON     bool     `name:"json" help:"Print results as JSON."`
	LogLevel string   `help:"debug, info, warn or error." placeholder:"LEVEL"`

	Up       upCmd              `cmd:"" help:"Run everything in one process: NATS, ClickHouse and all services."`
	Equities serviceCmd         `cmd:"" help:"Run the equities service alone."`
	Hashpr   serviceCmd         `cmd:"" name:"hashprice" help:"Run the hashprice service alone."`
	GPU      serviceCmd         `cmd:"" name:"gpurates" help:"Run the GPU rates service alone."`
	Signals  serviceCmd         `cmd:"" help:"Run the signals service alone: bars from prints."`
	Lander   serviceCmd         `cmd:"" help:"Run the lander alone."`
	Gateway  serviceCmd         `cmd:"" help:"Run a gateway alone: live feed, history over HTTP, page."`
	Nightly  nightlyCmd         `cmd:"" help:"Run the research notebooks when a trade date is complete."`
	Adopt    adoptCmd           `cmd:"" help:"Let this NATS land into a database whose rows came from another NATS, which is gone for good."`
	Migrate  migrateCmd         `cmd:"" help:"Bring the database's schema to this version."`
	Sim      simCmd             `cmd:"" help:"Run the simulated upstreams alone and print their addresses."`
	Engine   clickhouseCmd      `cmd:"" name:"clickhouse" help:"Run the embedded ClickHouse alone, for any ClickHouse client."`
	SQL      sqlCmd             `cmd:"" name:"sql" help:"Run a query in ClickHouse."`
	Tail     tailCmd            `cmd:"" help:"Print events as they are published."`
	Audit    auditCmd           `cmd:"" help:"Compare what was published with what landed; exit 1 if anything is lost, doubled or altered."`
	Dead     deadCmd            `cmd:"" help:"Dead letters: list, show, replay, discard."`
	Backup   backupCmd          `cmd:"" help:"Back up streams and tables while everything runs; list and check backups."`
	Restore  restoreCmd         `cmd:"" help:"Make streams and tables of a backup, land what is left, and audit."`
	Retain   retentionCmd       `cmd:"" name:"retention" help:"Show which old rows are due to be removed (audit.retention), and what was; --apply removes them."`
	Rates    ratesCmd           `cmd:"" help:"GPU rate indices."`
	Gaps     gapsCmd            `cmd:"" help:"List what was missed, and what became of it."`
	Backfill backfillCmd        `cmd:"" help:"Fetch the history of a span that was never streamed; run again it goes on where it ended."`
	Import   importCmd          `cmd:"" help:"Import files of trades, quotes or bars as a source like any other."`
	Export   exportCmd          `cmd:"" help:"Export tables, views and queries to Parquet files; run again it goes on where it ended and writes what changed."`
	Status   statusCmd          `cmd:"" help:"Show the whole pipeline on one screen that refreshes: feeds, gaps, streams, landing, gateways, audits, disks."`
	Doctor   doctorCmd          `cmd:"" help:"Check the deployment and say what to do about what is wrong; changes nothing; exit 1 if a check fails."`
	Health   healthCmd          `cmd:"" help:"Ask a running service whether it is ready."`
	Size     sizeCmd            `cmd:"" help:"Compute a deployment for a rate of events, from measured costs."`
	Token    tokenCmd           `cmd:"" help:"Sign a token for the gateway and print it."`
	NATSUser natsUsersCmd       `cmd:"" name:"nats-users" help:"Print the users of NATS, one a service, each with the rights that it needs, as nats-server's configuration."`
	ClickUsr clickhouseUsersCmd `cmd:"" name:"clickhouse-users" help:"Print the users of ClickHouse, each with the grants that it needs, as a server's users.d."`
	Conf     configCmd          `cmd:"" name:"config" help:"Print the effective configuration, secrets masked."`
	Version  versionCmd         `cmd:"" help:"Print the version."`
}

// app is what a command works with.
type app struct {
	ctx    context.Context
	cli    *cli
	stdout io.Writer
	stderr io.Writer
	env    []string
	log    *slog.Logger
	level  *slog.LevelVar // of log
	admin  string         // where a service that runs alone tells of itself
	// command is the name of the command that runs.
	command string
}

// execute is the program without its process: it returns the exit code. 0 is success, 1 a failure, 2 something for the operator to mend.
func execute(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	var c cli
	code := -1
	parser, err := kong.New(&c, kong.Name("hashpivot"), kong.UsageOnError(), kong.Writers(stdout, stderr), kong.Exit(func(n int) { code = n }),
		kong.Description("Are bitcoin miners turning into AI data centres, and what is it worth? Market data, landed exactly once."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "hashpivot:", err)
		return 1
	}
	kctx, err := parser.Parse(args)
	if code >= 0 { // --help
		return code
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "hashpivot: %v; hashpivot --help lists the commands\n", err)
		return 2
	}
	a := &app{ctx: ctx, cli: &c, stdout: stdout, stderr: stderr, env: env}
	a.command = kctx.Command()
	err = kctx.Run(a)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNotClean), errors.Is(err, errDeadLeft), errors.Is(err, errFindings), errors.Is(err, errNotWhole):
		return 1
	}
	_, _ = fmt.Fprintf(stderr, "hashpivot: %v\n", err)
	if mendable(err) {
		return 2
	}
	return 1
}

// mendable reports whether err is the operator's to mend: configuration, ports, directories, a missing engine.
func mendable(err error) bool {
	if _, ok := errors.AsType[*run.UsageError](err); ok {
		return true
	}
	for _, e := range []error{
		bus.ErrAddr, bus.ErrDataDir, certs.ErrConfig, chembed.ErrConfig, chembed.ErrLibraryMissing, chembed.ErrLibraryInvalid, chembed.ErrDataDirLocked,
		chembed.ErrDataDirUnusable, chembed.ErrAddressInUse,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
