package wire

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/control"
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
	mu    sync.Mutex
	next  []Fault
	spans map[string]*span
	clear chan struct{} // closed when faults are cleared: stalled answers end
	hits  int
	seen  arrivals
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

var httpFaults = []control.Fault{
	{Name: control.Status, Does: "answers with status (500), header and body"},
	{Name: control.HTML, Does: "answers 200 with a page of HTML"},
	{Name: control.ErrorBody, Does: "answers 200 with the protocol's own error, or with body"},
	{Name: control.Body, Does: "answers 200 with body"},
	{Name: control.Truncate, Does: "cuts the connection in the middle of the true answer"},
	{Name: control.HugeBody, Does: "answers with 64 MiB"},
	{Name: control.GzipBomb, Does: "answers with 1 GiB in 1 MiB of gzip"},
	{Name: control.Nested, Does: "answers with a million nested arrays"},
	{Name: control.SlowBody, Does: "sends the true answer in ten pieces, delay (1s) apart"},
	{Name: control.Stall, Does: "takes the request and never answers"},
}

var pageFaults = []control.Fault{
	{Name: control.PageLoop, Does: "each page names itself as the next one"},
	{Name: control.PageFlood, Does: "there is always another page"},
}

// order takes an order of a generic fault; false: it is none.
func (f *Faults) order(o control.Order, errorBody string) bool {
	x := event(o)
	switch o.Fault {
	case control.ErrorBody:
		if o.Body == "" {
			x.order.Body = errorBody
		}
	case control.PageLoop, control.PageFlood:
		x = standing(o)
	case control.Status, control.HTML, control.Body, control.Truncate, control.HugeBody, control.GzipBomb, control.Nested, control.SlowBody, control.Stall:
	default:
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spans == nil {
		f.spans = map[string]*span{}
	}
	f.spans[o.Fault] = x
	return true
}

// end ends a fault, all where the name is empty.
func (f *Faults) end(fault string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault == "" {
		f.next = nil
		clear(f.spans)
	} else {
		delete(f.spans, fault)
	}
	if f.clear != nil {
		close(f.clear)
		f.clear = nil
	}
}

// Paging tells a simulator that pages which of its two faults strikes: loop (the next page is this one), or flood (there is always a next).
func (f *Faults) Paging() (loop, flood bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.spans[control.PageLoop].strike(), f.spans[control.PageFlood].strike()
}

// Wrap serves faults that are due instead of h.
func (f *Faults) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.hits++
		f.seen.add()
		var x Fault
		due := len(f.next) > 0
		if due {
			x, f.next = f.next[0], f.next[1:]
		}
		var o control.Order
		for i := 0; !due && i < len(httpFaults); i++ {
			if s := f.spans[httpFaults[i].Name]; s.strike() {
				o = s.order
				break
			}
		}
		if f.clear == nil {
			f.clear = make(chan struct{})
		}
		cleared := f.clear
		f.mu.Unlock()
		switch {
		case due:
			x.serve(w)
		case o.Fault != "":
			serveOrder(w, r, o, h, cleared)
		default:
			h.ServeHTTP(w, r)
		}
	})
}

func (x Fault) serve(w http.ResponseWriter) {
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
		flush(w)
		panic(http.ErrAbortHandler) // net/http's own way to cut a connection
	}
}

// flush sends what was written: of a small answer that is cut before it was sent, a client sees nothing, and net/http's asks again by itself.
func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

func writeOrder(w http.ResponseWriter, o control.Order, status int) {
	for k, v := range o.HTTPHeader() {
		w.Header()[k] = v
	}
	if o.Status != 0 {
		status = o.Status
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, o.Body) // the client may be gone
}

const htmlPage = "<!DOCTYPE html>\n<html><head><title>503 Service Unavailable</title></head><body><h1>Just a moment...</h1></body></html>\n"

func serveOrder(w http.ResponseWriter, r *http.Request, o control.Order, h http.Handler, cleared <-chan struct{}) {
	switch o.Fault {
	case control.Status:
		writeOrder(w, o, http.StatusInternalServerError)
	case control.HTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		o.Body = htmlPage
		writeOrder(w, o, http.StatusOK)
	case control.ErrorBody, control.Body:
		w.Header().Set("Content-Type", "application/json")
		writeOrder(w, o, http.StatusOK)
	case control.Nested:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, strings.Repeat("[", 1_000_000))
	case control.HugeBody:
		chunk := bytes.Repeat([]byte(" "), 1<<20)
		for range 64 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	case control.GzipBomb:
		w.Header().Set("Content-Encoding", "gzip")
		bomb := bomb()
		for range 64 { // a stream of members is one stream
			if _, err := w.Write(bomb); err != nil {
				return
			}
		}
	case control.Truncate:
		b := record(h, w, r)
		w.Header().Set("Content-Length", strconv.Itoa(max(b.Len(), 2)))
		w.WriteHeader(b.status)
		_, _ = w.Write(b.Bytes()[:b.Len()/2])
		flush(w)
		panic(http.ErrAbortHandler)
	case control.SlowBody:
		b := record(h, w, r)
		w.WriteHeader(b.status)
		for data := b.Bytes(); len(data) > 0; {
			n := min(b.Len()/10+1, len(data))
			if _, err := w.Write(data[:n]); err != nil {
				return
			}
			data = data[n:]
			_ = http.NewResponseController(w).Flush()
			if !wait(r, cleared, orElse(time.Duration(o.Delay), time.Second)) {
				return
			}
		}
	case control.Stall:
		// An unread body would hide from net/http that the client has gone.
		_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
		wait(r, cleared, time.Hour)
		panic(http.ErrAbortHandler)
	}
}

// wait returns after d, or when the fault is cleared; false when the client is gone.
func wait(r *http.Request, cleared <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-cleared:
	case <-r.Context().Done():
		return false
	}
	return true
}

// bomb is 16 MiB of zeros in some 16 KiB of gzip.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(make([]byte, 16<<20)) // a buffer takes everything
	_ = z.Close()
	return b.Bytes()
})

// recorded is the true answer, kept back. Its header is the one that will be sent.
type recorded struct {
	bytes.Buffer
	header http.Header
	status int
}

func (b *recorded) Header() http.Header    { return b.header }
func (b *recorded) WriteHeader(status int) { b.status = status }

func record(h http.Handler, w http.ResponseWriter, r *http.Request) *recorded {
	b := &recorded{header: w.Header(), status: http.StatusOK}
	h.ServeHTTP(b, r)
	return b
}
