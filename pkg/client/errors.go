package client

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/gorilla/websocket"

	"github.com/hashpivot/hashpivot/pkg/live"
)

// ErrClosed is what subscriptions end with when their client was closed.
var ErrClosed = errors.New("client is closed")

var (
	errLost = errors.New("connection was lost")
	errMute = errors.New("gateway was mute")
)

// fatalError is one that connecting again does not cure.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

func isFatal(err error) bool {
	_, ok := errors.AsType[*fatalError](err)
	return ok
}

// readError says what the end of reading means. told is the last error that the gateway sent about the connection, or nil.
func (c *Config) readError(err error, told *live.Error) error {
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return errMute
	}
	code := 0
	if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
		code = ce.Code
	} else if errors.Is(err, websocket.ErrReadLimit) {
		return &fatalError{fmt.Errorf("read: a frame is larger than the %d bytes of Config.ReadLimit: %w", c.ReadLimit, err)}
	}
	err = fmt.Errorf("read: %w", err)
	if told != nil {
		err = fmt.Errorf("%w (%w)", err, told)
	}
	switch {
	case code == live.CloseExpired && c.TokenFunc == nil:
		return &fatalError{fmt.Errorf("token has expired; give Config.TokenFunc to get new ones: %w", err)}
	case code >= 4100 && code < 4200, code == websocket.CloseInvalidFramePayloadData, code == websocket.CloseMessageTooBig:
		return &fatalError{err}
	}
	return err
}

// dialError says what a refused handshake means.
func dialError(err error, resp *http.Response) error {
	if resp == nil {
		return err
	}
	err = fmt.Errorf("%w: HTTP %d", err, resp.StatusCode)
	switch code := resp.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests:
	case code >= 400 && code < 500:
		return &fatalError{err}
	}
	return err
}
