package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/hashpivot/hashpivot/schemas"
)

func document(t testing.TB) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(schemas.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

// described holds an answer against the document.
func described(t testing.TB, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	_, router := document(t)
	route, vars, err := router.FindRoute(r)
	if err != nil {
		if w.Code != http.StatusNotFound {
			t.Errorf("%s is not in the document: %v", r.URL.Path, err)
		}
		return
	}
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: vars, Route: route}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: w.Code, Header: w.Header()}
	out.SetBodyBytes(w.Body.Bytes())
	if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
		t.Errorf("%s: the answer is not as the document says: %v", r.URL, err)
	}
}

// Every path of the document is answered; that every answer is in the document is held by described.
func TestDocumentedPathsExist(t *testing.T) {
	h, _ := world(t)
	doc, _ := document(t)
	for path := range doc.Paths.Map() {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil)); w.Code == http.StatusNotFound {
			t.Errorf("%s is in the document but not answered", path)
		}
	}
}
