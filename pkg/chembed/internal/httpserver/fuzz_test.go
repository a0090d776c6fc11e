package httpserver

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// FuzzRequest reads what clients send up to where the engine would get it: bodies, encodings, frames, forms. Whatever comes, it ends in an error or in a
// statement, and holds no more than its bounds.
func FuzzRequest(f *testing.F) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(w, "INSERT INTO t FORMAT CSV\n1\n")
	_ = w.Close()
	const form = "multipart/form-data; boundary=b"
	for _, s := range []struct{ query, encoding, kind, body string }{
		{"query=SELECT+1", "", "", ""},
		{"", "", "", "INSERT INTO t VALUES (1)"},
		{"query=INSERT+INTO+t", "gzip", "", zipped.String()},
		{"decompress=1", "", "", "0123456789abcdef\x82\x20\x00\x00\x00\x10\x00\x00\x00rest"},
		{"query=SELECT", "zstd", "", "\x28\xb5\x2f\xfd\x04\x00"},
		{"", "lz4", "", "\x04\x22\x4d\x18"},
		{"", "br", "", "\x0b\x02\x80"},
		{"e_structure=a+UInt8", "", form, "--b\r\nContent-Disposition: form-data; name=\"e\"; filename=\"\"\r\n\r\n1\n\r\n--b--\r\n"},
		{"e_types=UInt8,Enum8('a,'=1)", "", form, "--b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT 1\r\n--b--\r\n"},
	} {
		f.Add(s.query, s.encoding, s.kind, []byte(s.body))
	}
	f.Fuzz(func(t *testing.T, text, encoding, kind string, body []byte) {
		params, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Content-Encoding", encoding)
		q := &query{w: httptest.NewRecorder(), r: r, params: params}
		tables, err := q.readForm()
		if err == nil {
			for _, table := range tables {
				if len(table.columns) == 0 {
					t.Errorf("table %q without columns", table.name)
				}
				data, err := table.data.reader()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, data); err != nil {
					t.Error(err)
				}
			}
			closeTables(tables)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		in, err := q.body()
		if err != nil {
			return
		}
		defer in.Close()
		_, data, err := q.text(in)
		if err != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, data, 1<<20)
		if _, _, err := q.settings(); err != nil {
			t.Error(err)
		}
	})
}
