package web_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/hashpivot/hashpivot/services/gateway/web"
)

func get(t *testing.T, method, target string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	web.Handler().ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w.Result()
}

func body(t *testing.T, target string) string {
	t.Helper()
	w := httptest.NewRecorder()
	web.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%s: status %d", target, w.Code)
	}
	return w.Body.String()
}

func TestThePageLoadsOnlyWhatIsEmbedded(t *testing.T) {
	page := body(t, "/")
	loads := regexp.MustCompile(`(?:src|href)="([^"#][^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(loads) < 3 {
		t.Fatalf("the page loads %d things; a script, a style and an icon are the least: run make web", len(loads))
	}
	for _, l := range loads {
		if !strings.HasPrefix(l[1], "./") {
			t.Errorf("the page loads %s, which is not its own", l[1])
			continue
		}
		target := strings.TrimPrefix(l[1], ".")
		r := get(t, http.MethodGet, target)
		kind := r.Header.Get("Content-Type")
		if r.StatusCode != http.StatusOK || kind == "" || strings.HasPrefix(kind, "text/plain") {
			t.Errorf("%s: status %d, type %q", target, r.StatusCode, kind)
		}
		if strings.HasPrefix(target, "/assets/") && !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: cached as %q, and its name has its hash", target, r.Header.Get("Cache-Control"))
		}
	}
	if strings.Contains(page, "<style") || regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(page) {
		t.Error("the page has inline style or script, which its policy forbids")
	}
}

func TestHeadersKeepThePageToItself(t *testing.T) {
	for _, target := range []string{"/", "/nothing-here", "/assets/../index.html"} {
		r := get(t, http.MethodGet, target)
		if r.Header.Get("Content-Security-Policy") != web.Policy || r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", target, r.Header)
		}
	}
	if c := get(t, http.MethodGet, "/").Header.Get("Cache-Control"); c != "no-cache" {
		t.Errorf("the page is cached as %q: a new release would not be seen", c)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	for _, target := range []string{"/v1/nothing", "/embed.go", "/../embed.go", "/assets/", "/assets", "/index.html/x"} {
		if r := get(t, http.MethodGet, target); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: status %d", target, r.StatusCode)
		}
	}
	if r := get(t, http.MethodPost, "/"); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", r.StatusCode)
	}
}
