package gateway

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// researchPath is where the output of the research notebooks is served, as services/nightly leaves it: <date>/<run>/<file>.
const researchPath = "/research/"

// Policies of what is served there. A page of a notebook is self-contained: it has its styles and pictures in it, and neither runs a script nor loads
// anything. PDFs have none of that, because browsers show them in viewers of their own, which such a policy breaks.
const (
	researchPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
		"sandbox allow-top-navigation-by-user-activation allow-popups"
	filePolicy = "frame-ancestors 'none'"
)

// researchTypes are the files that are served.
var researchTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".pdf": "application/pdf", ".ipynb": "application/x-ipynb+json", ".json": "application/json", ".jsonl": "application/x-ndjson",
	".log": "text/plain; charset=utf-8",
}

var (
	researchRun  = regexp.MustCompile(`^[0-9]{8}T[0-9.]{6,16}Z-[a-z0-9]{1,32}$`)
	researchFile = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,120}$`)
)

// Bounds of the list of runs.
const (
	maxResearchRuns   = 200
	maxResearchReport = 8 << 20
)

//go:embed research.html.tmpl
var researchText string

var researchTemplate = template.Must(template.New("research").Funcs(template.FuncMap{
	"utc": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
}).Parse(researchText))

// research serves the directory, read only. It is told of everything, so who may read less than everything may not read it.
func (g *Gateway) research() http.Handler {
	return g.limited(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			g.refuse(w, http.StatusMethodNotAllowed, live.Errorf(live.CodeBadRequest, "research is only read"))
			return
		}
		for _, c := range live.Channels() {
			if err := authorize(r, c, []string{"*"}); err != nil {
				g.refuse(w, statusOf(err), live.Errorf(live.AsError(err).Code, "research is made of everything, so it needs the scope *:*: %s", live.AsError(err).Message))
				return
			}
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "private, no-cache")
		if err := g.serveResearch(w, r); err != nil {
			g.refuse(w, http.StatusNotFound, live.Errorf(live.CodeBadRequest, "%s", err))
		}
	}))
}

// serveResearch answers, or says in a sentence why there is nothing.
func (g *Gateway) serveResearch(w http.ResponseWriter, r *http.Request) error {
	if g.cfg.Research == "" {
		return errors.New("this gateway serves no research: gateway.research names no directory")
	}
	// A root does not let a name lead out of it, whatever links lie within.
	root, err := os.OpenRoot(g.cfg.Research)
	if err != nil {
		return errors.New("there is no research yet: hashpivot nightly writes it when a trade date is complete")
	}
	defer func() { _ = root.Close() }()
	name := strings.TrimPrefix(r.URL.Path, researchPath)
	parts := strings.Split(strings.TrimSuffix(name, "/"), "/")
	if name == "" {
		return g.listResearch(w, r, root, "")
	}
	if target, ok := latestOf(root, parts); ok {
		http.Redirect(w, r, researchPath+target, http.StatusTemporaryRedirect) //nolint:gosec // a path of our own, of parts that were matched
		return nil
	}
	if _, err := time.Parse(time.DateOnly, parts[0]); err != nil {
		return errors.New("there is no such page: /research/ lists the runs")
	}
	switch {
	case len(parts) == 1:
		return g.listResearch(w, r, root, parts[0])
	case !researchRun.MatchString(parts[1]) || len(parts) > 3:
		return errors.New("there is no such run: /research/ lists them")
	case len(parts) == 2 && !strings.HasSuffix(name, "/"): // what the page names lies beside it
		http.Redirect(w, r, researchPath+name+"/", http.StatusTemporaryRedirect) //nolint:gosec // a path of our own, of parts that were matched
		return nil
	case len(parts) == 2:
		parts = append(parts, "index.html")
	}
	kind := researchTypes[path.Ext(parts[2])]
	file := path.Join(parts...)
	if kind == "" || !researchFile.MatchString(parts[2]) || !fs.ValidPath(file) {
		return errors.New("there is no such file in this run")
	}
	info, err := root.Lstat(file)
	if err != nil || !info.Mode().IsRegular() {
		return errors.New("there is no such file in this run; one that is not finished has none yet")
	}
	f, err := root.Open(file)
	if err != nil {
		return errors.New("the file cannot be read")
	}
	defer func() { _ = f.Close() }()
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Security-Policy", filePolicy)
	if kind == researchTypes[".html"] {
		w.Header().Set("Content-Security-Policy", researchPolicy)
	}
	http.ServeContent(w, r, parts[2], info.ModTime(), f)
	return nil
}

// latestOf follows the pointers latest/… and <date>/latest/… to the run that they name now, so that a page that is open stays of one run.
func latestOf(root *os.Root, parts []string) (string, bool) {
	var link, base string
	var rest []string
	switch {
	case parts[0] == "latest":
		link, rest = "latest", parts[1:]
	case len(parts) > 1 && parts[1] == "latest" && fs.ValidPath(parts[0]):
		link, base, rest = path.Join(parts[0], "latest"), parts[0], parts[2:]
	default:
		return "", false
	}
	to, err := root.Readlink(link)
	if err != nil {
		return "", false
	}
	date, run, _ := strings.Cut(path.Join(base, to), "/")
	if _, err := time.Parse(time.DateOnly, date); err != nil || !researchRun.MatchString(run) {
		return "", false
	}
	if len(rest) > 1 || len(rest) == 1 && !researchFile.MatchString(rest[0]) {
		return "", false
	}
	return date + "/" + run + "/" + strings.Join(rest, ""), true
}

// researchEntry is a run in the list.
type researchEntry struct {
	Path      string
	TradeDate string    `json:"trade_date"`
	AsOf      time.Time `json:"as_of"`
	RunID     string    `json:"run_id"`
	By        string    `json:"by"`
	State     string    `json:"state"`
	Mode      string    `json:"mode"`
	Complete  bool      `json:"complete"`
	Missing   []string  `json:"missing"`
	Ended     time.Time `json:"ended"`
	Notebooks []struct {
		Notebook string `json:"notebook"`
		State    string `json:"state"`
	} `json:"notebooks"`
	Latest bool `json:"-"`
}

// Failed lists the notebooks that failed.
func (e researchEntry) Failed() []string {
	var out []string
	for _, n := range e.Notebooks {
		if n.State != "ok" {
			out = append(out, n.Notebook)
		}
	}
	return out
}

// listResearch lists the runs of a date, or of all dates, newest first.
func (g *Gateway) listResearch(w http.ResponseWriter, r *http.Request, root *os.Root, date string) error {
	dates := []string{date}
	if date == "" {
		all, err := fs.ReadDir(root.FS(), ".")
		if err != nil {
			return errors.New("the directory of research cannot be read")
		}
		dates = nil
		for _, e := range slices.Backward(all) {
			if _, err := time.Parse(time.DateOnly, e.Name()); err == nil && e.IsDir() {
				dates = append(dates, e.Name())
			}
		}
	}
	var entries []researchEntry
	for _, d := range dates {
		of := runsOf(root, d)
		entries = append(entries, of...)
		if len(entries) >= maxResearchRuns {
			break
		}
	}
	if len(entries) == 0 {
		if date != "" {
			return fmt.Errorf("nothing was run of %s: hashpivot nightly status --date %s says what is missing", date, date)
		}
		return errors.New("nothing was run yet: hashpivot nightly status --date DATE says what is missing")
	}
	banner := ""
	switch g.deps.Mode {
	case "sim":
		banner = "SIMULATED data: generated, not a market"
	case "recorded":
		banner = "RECORDED data: replayed, not live"
	}
	var page bytes.Buffer
	err := researchTemplate.Execute(&page, struct {
		Banner, Date string
		Entries      []researchEntry
		Most         int
	}{banner, date, entries[:min(len(entries), maxResearchRuns)], maxResearchRuns})
	if err != nil {
		return fmt.Errorf("the list cannot be written: %w", err)
	}
	w.Header().Set("Content-Type", researchTypes[".html"])
	w.Header().Set("Content-Security-Policy", researchPolicy)
	http.ServeContent(w, r, "index.html", time.Time{}, bytes.NewReader(page.Bytes()))
	return nil
}

// runsOf are the runs of a date that have ended, the last one first.
func runsOf(root *os.Root, date string) []researchEntry {
	dirs, err := fs.ReadDir(root.FS(), date)
	if err != nil {
		return nil
	}
	latest, _ := root.Readlink(path.Join(date, "latest"))
	var out []researchEntry
	for _, d := range dirs {
		if !d.IsDir() || !researchRun.MatchString(d.Name()) {
			continue
		}
		f, err := root.Open(path.Join(date, d.Name(), "run.json"))
		if err != nil {
			continue // it runs
		}
		var e researchEntry
		err = json.NewDecoder(io.LimitReader(f, maxResearchReport)).Decode(&e)
		_ = f.Close()
		if err != nil {
			continue
		}
		e.Path, e.Latest = date+"/"+d.Name()+"/", latest == d.Name()
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b researchEntry) int { return b.Ended.Compare(a.Ended) })
	return out
}
