package nightly

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
)

// browsers that can make PDFs, in the order in which they are looked for.
var browsers = []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"}

// browser finds what makes the PDFs; empty and why, where nothing does.
func (c Config) browser() (path, why string) {
	switch c.Chromium {
	case Off:
		return "", "nightly.chromium is off"
	case "":
		for _, name := range browsers {
			if p, err := exec.LookPath(name); err == nil {
				return p, ""
			}
		}
		return "", "no Chromium was found; nightly.chromium names one"
	}
	if p, err := exec.LookPath(c.Chromium); err == nil {
		return p, ""
	}
	return "", fmt.Sprintf("there is no %s (nightly.chromium)", c.Chromium)
}

// chromiumMemory is no bound of memory: the browser reserves more than any machine has.
const (
	chromiumMemory = 0
	chromiumQuota  = 1 << 30
)

// confinement is what a page may do while it is printed: show what is in it.
const confinement = `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:">`

// confined is a page that can neither run scripts nor load anything. The browser's own switch for that stops its printing too.
func confined(html []byte) []byte {
	at := head.FindIndex(html[:min(len(html), 64<<10)])
	if at == nil { // a page without a head has one before its first words
		return append([]byte("<!doctype html>"+confinement), html...)
	}
	return slices.Concat(html[:at[1]], []byte(confinement), html[at[1]:])
}

var head = regexp.MustCompile(`(?i)<head(\s[^>]*)?>`)

// pdf prints an HTML file of the run's directory. The browser has no network and runs no script: what it prints is what the file says.
func (s *Service) pdf(ctx context.Context, browser, dir, notebook string) error {
	// Its sockets lie there, and the path of a socket is short: not below the directory of research.
	work, err := os.MkdirTemp("", "hashpivot-pdf-")
	if err != nil {
		return fmt.Errorf("make directory for the PDF: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	page, made := filepath.Join(work, "page.html"), filepath.Join(work, "page.pdf")
	html, err := os.ReadFile(filepath.Join(dir, notebook+".html"))
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	if err := os.WriteFile(page, confined(html), 0o600); err != nil {
		return fmt.Errorf("copy the page: %w", err)
	}
	args := []string{
		"--headless", "--disable-gpu", "--no-first-run", "--no-default-browser-check", "--disable-extensions", "--disable-sync", "--disable-component-update",
		"--disable-background-networking", "--disable-default-apps", "--disable-dev-shm-usage", "--disable-crash-reporter", "--mute-audio",
		"--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=http://127.0.0.1:1", "--proxy-bypass-list=<-loopback>",
		"--no-pdf-header-footer", "--user-data-dir=" + filepath.Join(work, "profile"), "--print-to-pdf=" + made,
	}
	if os.Geteuid() == 0 {
		// Chromium refuses to run as root with its sandbox. The page is ours and has neither script nor network.
		args = append(args, "--no-sandbox")
	}
	words, err := newCapture(filepath.Join(work, "log"), slog.New(slog.DiscardHandler), s.hide)
	if err != nil {
		return err
	}
	err = child{
		path: browser, args: append(args, "file://"+page),
		env: append(childEnviron(os.Environ()), "HOME="+work, "TMPDIR="+work, "XDG_CONFIG_HOME="+work, "XDG_CACHE_HOME="+work, "DBUS_SESSION_BUS_ADDRESS=disabled:"),
		dir: work, limit: s.cfg.PDFWithin, maxMemory: chromiumMemory, quota: chromiumQuota, watched: []string{work},
		owner: filepath.Join(dir, notebook+".pdf"), output: words,
	}.run(ctx)
	tail := words.close()
	if err == nil {
		err = regular(made)
	}
	if err != nil {
		s.log.Warn("no PDF could be made", "notebook", notebook, "err", err, "browser_says", tail)
		return err
	}
	data, err := os.ReadFile(made) // a rename does not reach over file systems
	if err != nil {
		return fmt.Errorf("keep the PDF: %w", err)
	}
	return writeFile(filepath.Join(dir, notebook+".pdf"), data)
}

// pdfs makes a PDF of each page. That none can be made is said in the index and is no failure.
func (s *Service) pdfs(ctx context.Context, r *researchRun, outcomes []*Outcome) error {
	browser, why := s.cfg.browser()
	dir := filepath.Join(s.root, r.Dir)
	for _, o := range outcomes {
		name := o.Notebook + ".pdf"
		if o.State != StateOK || regular(filepath.Join(dir, o.Notebook+".html")) != nil {
			continue
		}
		if regular(filepath.Join(dir, name)) == nil { // of a run that was taken up again
			o.addFile(name)
			continue
		}
		if browser == "" {
			o.PDF = why
			continue
		}
		err := s.pdf(ctx, browser, dir, o.Notebook)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errTimeLimit):
			o.PDF = err.Error()
		case err != nil:
			o.PDF = "the browser made none; the log of the service says why"
		default:
			o.addFile(name)
		}
	}
	return nil
}
