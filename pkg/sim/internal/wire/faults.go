package wire

import (
	"net/http"
	"sync"
)

// Fault is an HTTP answer that goes wrong.
type Fault struct {
	Status int // 0: 200
	Header http.Header
	Body   string
	// Truncate announces a longer body than it sends and then cuts the connection.
	Truncate bool
}

// Faults are the HTTP faults that were ordered.
type Faults struct {
	mu   sync.Mutex
	next []Fault
	hits int
}

// Order makes the next n requests answer with the fault.
func (f *Faults) Order(n int, x Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.next = append(f.next, x)
	}
}

// Hits counts the requests that were served, faulty or not.
func (f *Faults) Hits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits
}

// Wrap serves faults that are due instead of h.
func (f *Faults) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.hits++
		var x Fault
		due := len(f.next) > 0
		if due {
			x, f.next = f.next[0], f.next[1:]
		}
		f.mu.Unlock()
		if !due {
			h.ServeHTTP(w, r)
			return
		}
		for k, v := range x.Header {
			w.Header()[k] = v
		}
		if x.Truncate {
			w.Header().Set("Content-Length", "1000000")
		}
		if x.Status == 0 {
			x.Status = http.StatusOK
		}
		w.WriteHeader(x.Status)
		_, _ = w.Write([]byte(x.Body))
		if x.Truncate {
			panic(http.ErrAbortHandler) // net/http's own way to cut a connection
		}
	})
}
