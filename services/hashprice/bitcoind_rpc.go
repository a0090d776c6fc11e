package hashprice

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
)

// Error codes of Bitcoin Core.
const (
	rpcWarmingUp = -28
)

// rpcError is Core's own answer that it cannot do it.
type rpcError struct {
	Method  string
	Code    int
	Message string
}

func (e *rpcError) Error() string {
	return fmt.Sprintf("call %s: bitcoind says %d %.200q", e.Method, e.Code, e.Message)
}

// warmWait is how long a node that is warming up is left alone.
const warmWait = 2 * time.Second

// coreRPC calls Bitcoin Core's JSON-RPC.
type coreRPC struct {
	cfg    BitcoindConfig
	f      *feed.Feed
	client *http.Client
}

func newCoreRPC(cfg BitcoindConfig, f *feed.Feed) *coreRPC {
	return &coreRPC{cfg: cfg, f: f, client: &http.Client{Timeout: cfg.Timeout, Transport: http.DefaultTransport.(*http.Transport).Clone()}}
}

func (c *coreRPC) close() { c.client.CloseIdleConnections() }

// authorization is read from the cookie file each time: a node that is started again writes a new one.
func (c *coreRPC) authorization() (string, error) {
	pair := []byte(c.cfg.User + ":" + c.cfg.Password.Reveal())
	if c.cfg.CookieFile != "" {
		var err error
		if pair, err = os.ReadFile(c.cfg.CookieFile); err != nil {
			return "", fmt.Errorf("read bitcoind's cookie: %w; is it running, and hashprice.bitcoind.cookie_file its .cookie?", err)
		}
		pair = bytes.TrimSpace(pair)
	}
	return "Basic " + base64.StdEncoding.EncodeToString(pair), nil
}

// call makes one call and decodes its result with decode. An error of the node's is an *rpcError, marked RetryAfter while it warms up.
func (c *coreRPC) call(ctx context.Context, method string, decode func(raw []byte, recv time.Time) error, params ...any) error {
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "1.0", "id": "hashpivot", "method": method, "params": params})
	if err != nil {
		return fmt.Errorf("encode call %s: %w", method, err)
	}
	auth, err := c.authorization()
	if err != nil {
		return err
	}
	resp, err := c.f.Call(ctx, c.client, feed.Request{
		Method: http.MethodPost, URL: c.cfg.RPCURL, Body: body, Limit: 1 << 20,
		Header: http.Header{"Authorization": {auth}, "Content-Type": {"application/json"}},
	})
	var raw []byte
	recv := c.f.Now()
	if err == nil {
		raw, recv = resp.Body, resp.Recv
	} else {
		se, ok := errors.AsType[*feed.StatusError](err)
		if ok && se.Status == http.StatusUnauthorized && c.cfg.CookieFile != "" {
			// Not for ever: the node may have been started again between our reading of the cookie and the call.
			return fmt.Errorf("call %s: bitcoind refuses its cookie: HTTP %d", method, se.Status)
		}
		if ok && se.Status == http.StatusUnauthorized {
			return fmt.Errorf("call %s: bitcoind does not accept hashprice.bitcoind.user with hashprice.bitcoind.password: %w", method, err)
		}
		if !ok || len(se.Body) == 0 || se.Body[0] != '{' {
			return fmt.Errorf("call %s: %w", method, err)
		}
		raw = []byte(se.Body) // errors come with 500 (404, 400) and say what is wrong in JSON
	}
	result, rerr := decodeRPC(raw, method)
	if rerr != nil {
		if e, ok := errors.AsType[*rpcError](rerr); ok && e.Code == rpcWarmingUp {
			return feed.RetryAfter(rerr, warmWait)
		}
		if _, cut := errors.AsType[*feed.Malformed](rerr); cut && err != nil {
			return fmt.Errorf("call %s: %w", method, err)
		}
		return rerr
	}
	if err != nil { // a status that is no success, and no error in it
		return fmt.Errorf("call %s: %w", method, err)
	}
	if err := decode(result, recv); err != nil {
		return &badAnswer{method: method, body: raw, err: err}
	}
	return nil
}

// badAnswer is an answer that is not what the protocol says; its bytes are for the dead letter.
type badAnswer struct {
	method string
	body   []byte
	err    error
}

func (e *badAnswer) Error() string { return fmt.Sprintf("decode answer to %s: %v", e.method, e.err) }
func (e *badAnswer) Unwrap() error { return e.err }

// decodeRPC opens the envelope.
func decodeRPC(raw []byte, method string) (json.RawMessage, error) {
	var w struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := feed.DecodeJSON(raw, &w); err != nil {
		return nil, &badAnswer{method: method, body: raw, err: err}
	}
	if w.Error != nil {
		return nil, &rpcError{Method: method, Code: w.Error.Code, Message: w.Error.Message}
	}
	if len(w.Result) == 0 || string(w.Result) == "null" {
		return nil, &badAnswer{method: method, body: raw, err: feed.Missing("result")}
	}
	return w.Result, nil
}
