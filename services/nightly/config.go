// Package nightly runs the research notebooks of a trade date when it is complete, not when a clock strikes: each in a supervised child process, all as
// of one moment, their figures stored once and compared with what is stored, their pages in a directory that the gateway serves. docs/nightly.md
// describes it; package complete decides.
package nightly

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/hashpivot/hashpivot/pkg/run"
)

// What becomes of a trade date that is not complete when patience has ended.
const (
	IncompleteRun   = "run"   // it is run and marked
	IncompleteNever = "never" // it waits on
)

// Auto as Config.Enabled: on where the notebooks' environment is found.
const Auto = "auto"

// Off as Config.Chromium: no PDFs.
const Off = "off"

// Config of the service.
type Config struct {
	// Enabled of hashpivot up: auto, true or false.
	Enabled string `koanf:"enabled"`
	// Python is the interpreter of the environment that has the package hashpivot; empty: where make puts it.
	Python    string   `koanf:"python"`
	Notebooks []string `koanf:"notebooks"`
	// Calendar of trade dates: "us", "always" where simulators trade around the clock, or the path of a calendar file.
	Calendar string `koanf:"calendar"`
	// Directory of the output; empty: research in the data directory.
	Directory string `koanf:"directory"`
	// ClickHouseURL is ClickHouse's HTTP endpoint for the notebooks; empty: the embedded engine's.
	ClickHouseURL string `koanf:"clickhouse_url"`

	// CheckEvery is how often dates that wait are looked at.
	CheckEvery time.Duration `koanf:"check_every"`
	// Settle is how long after the last session's end late prints are waited for.
	Settle time.Duration `koanf:"settle"`
	// InputsWithin is how long after the UTC day's end its hashprice and GPU rates are waited for.
	InputsWithin time.Duration `koanf:"inputs_within"`
	// Patience counts from the date's end, or from the service's start where that is later; then Incomplete says what is done: run or never.
	Patience   time.Duration `koanf:"patience"`
	Incomplete string        `koanf:"incomplete"`
	// CatchUp is how many of the latest trade dates are run if they were not.
	CatchUp int `koanf:"catch_up"`

	// Parallel notebooks at a time.
	Parallel int `koanf:"parallel"`
	// TimeLimit of one try of a notebook.
	TimeLimit time.Duration `koanf:"time_limit"`
	// MaxMemory bounds the private memory of each process of a notebook, bytes; 0: no bound. Linux only.
	MaxMemory uint64 `koanf:"max_memory"`
	// MaxOutput bounds what a notebook may write into its directory, bytes.
	MaxOutput int64 `koanf:"max_output"`
	// Retries of a notebook that failed, the first after Backoff, each later one after twice the time.
	Retries int           `koanf:"retries"`
	Backoff time.Duration `koanf:"backoff"`

	// Chromium makes the PDFs; empty: looked for; off: none.
	Chromium  string        `koanf:"chromium"`
	PDFWithin time.Duration `koanf:"pdf_within"`

	Webhook Webhook `koanf:"webhook"`
}

// Webhook is told of failures and of runs that ended.
type Webhook struct {
	// URL may hold a key, so it is a secret.
	URL     run.Secret    `koanf:"url"`
	Retries int           `koanf:"retries"`
	Within  time.Duration `koanf:"within"`
}

// DefaultNotebooks are those of the research directory.
func DefaultNotebooks() []string {
	return []string{"01_pivot", "02_hashprice", "03_gpu_rates", "04_equities", "05_claims", "06_data_quality"}
}

// DefaultConfig runs after the US session, one notebook at a time.
func DefaultConfig() Config {
	return Config{
		Enabled: Auto, Notebooks: DefaultNotebooks(), Calendar: "us", CheckEvery: time.Minute, Settle: 20 * time.Minute, InputsWithin: 3 * time.Hour,
		Patience: 8 * time.Hour, Incomplete: IncompleteRun, CatchUp: 3, Parallel: 1, TimeLimit: 15 * time.Minute, MaxMemory: 4 << 30, MaxOutput: 256 << 20,
		Retries: 2, Backoff: 30 * time.Second, PDFWithin: time.Minute, Webhook: Webhook{Retries: 3, Within: 10 * time.Second},
	}
}

// notebookName is what may be a part of a path and of a command line.
var notebookName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// Switch reads Enabled.
func (c Config) Switch() (on, auto bool, _ error) {
	if c.Enabled == Auto {
		return false, true, nil
	}
	on, err := strconv.ParseBool(c.Enabled)
	if err != nil {
		return false, false, fmt.Errorf("nightly.enabled: %.32q is none of auto, true, false", c.Enabled)
	}
	return on, false, nil
}

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	bad := func(key, format string, args ...any) error {
		return fmt.Errorf("nightly.%s: %s", key, fmt.Sprintf(format, args...))
	}
	if _, _, err := c.Switch(); err != nil {
		return err
	}
	if len(c.Notebooks) == 0 {
		return bad("notebooks", "is empty; set nightly.enabled to false to run none")
	}
	for i, n := range c.Notebooks {
		if !notebookName.MatchString(n) || slices.Contains(c.Notebooks[:i], n) {
			return bad("notebooks", "%.80q is no name of letters, digits, - and _, or is there twice", n)
		}
	}
	if _, err := newCalendar(c.Calendar); err != nil {
		return bad("calendar", "%s", err)
	}
	if c.ClickHouseURL != "" {
		if u, err := url.Parse(c.ClickHouseURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			return bad("clickhouse_url", "is not http://host:port without a user in it; the user is that of clickhouse.user")
		}
	}
	for _, d := range []struct {
		key          string
		value, least time.Duration
		most         time.Duration
	}{
		{"check_every", c.CheckEvery, time.Second, time.Hour}, {"settle", c.Settle, 0, 24 * time.Hour}, {"inputs_within", c.InputsWithin, 0, 7 * 24 * time.Hour},
		{"patience", c.Patience, 0, 30 * 24 * time.Hour}, {"time_limit", c.TimeLimit, time.Second, 24 * time.Hour}, {"backoff", c.Backoff, 0, time.Hour},
		{"pdf_within", c.PDFWithin, time.Second, time.Hour}, {"webhook.within", c.Webhook.Within, 100 * time.Millisecond, time.Minute},
	} {
		if d.value < d.least || d.value > d.most {
			return bad(d.key, "%s is not from %s to %s", d.value, d.least, d.most)
		}
	}
	if c.Incomplete != IncompleteRun && c.Incomplete != IncompleteNever {
		return bad("incomplete", "%.32q is neither run nor never", c.Incomplete)
	}
	for _, n := range []struct {
		key                string
		value, least, most int
	}{{"catch_up", c.CatchUp, 1, 30}, {"parallel", c.Parallel, 1, 64}, {"retries", c.Retries, 0, 20}, {"webhook.retries", c.Webhook.Retries, 0, 20}} {
		if n.value < n.least || n.value > n.most {
			return bad(n.key, "%d is not from %d to %d", n.value, n.least, n.most)
		}
	}
	if c.MaxMemory != 0 && c.MaxMemory < 64<<20 {
		return bad("max_memory", "%d is less than 64 MiB; 0 is no bound", c.MaxMemory)
	}
	if c.MaxOutput < 1<<20 {
		return bad("max_output", "%d is less than 1 MiB", c.MaxOutput)
	}
	if c.Webhook.URL != "" {
		if u, err := url.Parse(c.Webhook.URL.Reveal()); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return bad("webhook.url", "is not a URL such as https://host/path (it is not repeated here, it may hold a key)")
		}
	}
	return nil
}
