package chembed

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/native"
)

// Clients that come while the engine is away are told so at once, with an error
// that every client takes for one to retry: NETWORK_ERROR.
const (
	standInCode = 210
	standInText = "The embedded ClickHouse engine is being restarted; try again in a moment"
	standInTime = 2 * time.Second // for a client to say hello and take its answer
	standInMax  = 64              // clients at once; the others are closed
)

// standIn accepts on the server's sockets in place of the engine.
type standIn struct {
	lns  []listener
	wg   sync.WaitGroup
	slot chan struct{}
}

func (s *Server) standIn() *standIn {
	st := &standIn{lns: s.listeners, slot: make(chan struct{}, standInMax)}
	secret := s.child.certificate().Later(s.log)
	for _, ln := range st.lns {
		answer := answerNative
		if ln.kind.http() {
			answer = answerHTTP
		}
		if ln.kind.tls() {
			plain := answer
			answer = func(c net.Conn) error { return plain(tls.Server(c, secret)) }
		}
		_ = ln.SetDeadline(time.Time{})
		st.wg.Go(func() { st.serve(ln.TCPListener, answer) })
	}
	return st
}

// stop hands the sockets back, and waits for the clients being answered.
func (st *standIn) stop() {
	for _, ln := range st.lns {
		_ = ln.SetDeadline(time.Unix(1, 0))
	}
	st.wg.Wait()
}

func (st *standIn) serve(ln *net.TCPListener, answer func(net.Conn) error) {
	for {
		c, err := ln.Accept()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of descriptors
			continue
		}
		select {
		case st.slot <- struct{}{}:
		default:
			_ = c.Close()
			continue
		}
		st.wg.Go(func() {
			defer func() { <-st.slot }()
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(standInTime))
			_ = answer(c) // the client went away
		})
	}
}

func answerNative(c net.Conn) error {
	r := native.Reader{Reader: bufio.NewReader(c)}
	if p, err := r.Uvarint(); err != nil || p != native.ClientHello {
		return err
	}
	if _, err := r.Hello(); err != nil {
		return err
	}
	w := native.NewWriter(c)
	w.Exception(standInCode, standInText)
	return w.Flush()
}

func answerHTTP(c net.Conn) error {
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return err
	}
	body := fmt.Sprintf("Code: %d. DB::Exception: %s. (NETWORK_ERROR)\n", standInCode, standInText)
	h := http.Header{}
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("X-ClickHouse-Exception-Code", fmt.Sprint(standInCode))
	h.Set("Retry-After", "1")
	resp := http.Response{
		StatusCode: http.StatusServiceUnavailable, ProtoMajor: 1, ProtoMinor: 1, Request: req, Close: true,
		Header: h, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
	return resp.Write(c)
}
