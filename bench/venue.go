package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// frameEvents are the messages of one frame: what Alpaca batches in a busy moment.
const frameEvents = 64

// venue is an Alpaca stream that tells as much as the client reads. Its frames are made beforehand and every message is made another by writing over
// its id and its time in place, so that it takes next to none of the machine that is measured.
type venue struct {
	symbols []string
	events  int
	frames  []venueFrame
	srv     *http.Server
	addr    string
	started chan time.Time // when the first frame was written

	mu  sync.Mutex
	err error
}

type venueFrame struct {
	data []byte
	ids  []int // where ten digits of a trade's id stand; -1 for a quote
	at   []int // where nine digits of nanoseconds stand
}

// newVenue makes the frames: three trades in ten, the rest quotes, over all symbols, in the venue's own JSON.
func newVenue(symbols []string, events int) (*venue, error) {
	v := &venue{symbols: symbols, events: events, started: make(chan time.Time, 1)}
	rnd := rand.New(rand.NewPCG(3, 4))
	base := time.Now().UTC().Add(-time.Hour).Truncate(time.Second).Format("2006-01-02T15:04:05")
	n := 0
	for range max(64, len(symbols)/frameEvents*2) {
		var f venueFrame
		f.data = append(f.data, '[')
		for i := range frameEvents {
			if i > 0 {
				f.data = append(f.data, ',')
			}
			symbol := symbols[n%len(symbols)]
			n++
			cents := 1000 + rnd.IntN(4000)
			price := fmt.Sprintf("%d.%02d", cents/100, cents%100)
			if rnd.IntN(10) < 3 {
				f.data = fmt.Appendf(f.data, `{"T":"t","S":"%s","i":`, symbol)
				f.ids = append(f.ids, len(f.data))
				f.data = fmt.Appendf(f.data, `1000000000,"x":"%s","p":%s,"s":%d,"c":["@","I"],"z":"C","t":"%s.`, exchanges[rnd.IntN(len(exchanges))], price, 1+rnd.IntN(400), base)
			} else {
				f.data = fmt.Appendf(f.data, `{"T":"q","S":"%s","bx":"U","bp":%s,"bs":%d,"ax":"Q","ap":%s5,"as":%d,"c":["R"],"z":"C","t":"%s.`,
					symbol, price, 100*(1+rnd.IntN(9)), price, 100*(1+rnd.IntN(9)), base)
				f.ids = append(f.ids, -1)
			}
			f.at = append(f.at, len(f.data))
			f.data = append(f.data, `000000000Z"}`...)
		}
		f.data = append(f.data, ']')
		v.frames = append(v.frames, f)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the venue: %w", err)
	}
	v.addr = ln.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/iex", v.stream)
	mux.HandleFunc("/v2/stocks/", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"bars":{},"trades":{},"quotes":{},"next_page_token":null}`))
	})
	v.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = v.srv.Serve(ln) }()
	return v, nil
}

// frame is the n-th frame: no other has its ids and times. The bytes are good until the frame comes round again.
func (v *venue) frame(n int) []byte {
	f := &v.frames[n%len(v.frames)]
	for i := range f.at {
		digits(f.data[f.at[i]:f.at[i]+9], n*frameEvents+i)
		if f.ids[i] >= 0 {
			digits(f.data[f.ids[i]+1:f.ids[i]+10], n*frameEvents+i)
		}
	}
	return f.data
}

func digits(b []byte, n int) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

func (v *venue) stream(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{WriteBufferSize: 64 << 10}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.Close() }()
	if err := v.tell(ws); err != nil {
		v.mu.Lock()
		v.err = err
		v.mu.Unlock()
	}
}

func (v *venue) tell(ws *websocket.Conn) error {
	say := func(text string) error { return ws.WriteMessage(websocket.TextMessage, []byte(text)) }
	hear := func() (map[string]json.RawMessage, error) {
		_, data, err := ws.ReadMessage()
		if err != nil {
			return nil, err
		}
		var m map[string]json.RawMessage
		return m, json.Unmarshal(data, &m)
	}
	if err := say(`[{"T":"success","msg":"connected"}]`); err != nil {
		return err
	}
	if _, err := hear(); err != nil {
		return err
	}
	if err := say(`[{"T":"success","msg":"authenticated"}]`); err != nil {
		return err
	}
	sub, err := hear()
	if err != nil {
		return err
	}
	delete(sub, "action")
	sub["T"] = json.RawMessage(`"subscription"`)
	answer, err := json.Marshal([]any{sub})
	if err != nil {
		return err
	}
	if err := say(string(answer)); err != nil {
		return err
	}
	pings := make(chan struct{})
	go func() { // a peer that reads nothing answers no ping
		defer close(pings)
		for {
			if _, _, err := ws.ReadMessage(); err != nil {
				return
			}
		}
	}()
	defer func() { <-pings }() // until the client goes
	v.started <- time.Now()
	for n := range v.events / frameEvents {
		if err := ws.WriteMessage(websocket.TextMessage, v.frame(n)); err != nil {
			_ = ws.Close()
			return fmt.Errorf("frame %d: %w", n, err)
		}
	}
	return nil
}

// failed is what went wrong with the stream, if anything.
func (v *venue) failed() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

func (v *venue) close() { _ = v.srv.Close() }

// manySymbols are n symbols that a venue might have.
func manySymbols(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = "S" + strconv.Itoa(i)
	}
	return out
}
