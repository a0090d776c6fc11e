package tcpserver

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashpivot/hashpivot/pkg/chembed/internal/access"
	"github.com/hashpivot/hashpivot/pkg/chembed/internal/engine"
)

// A client that connects and says nothing, or goes on saying hello a byte at a time, is let go when its time is over.
func TestSlowHello(t *testing.T) {
	for name, every := range map[string]time.Duration{"a byte and no more": time.Hour, "a byte a second": time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				users, err := access.New([]access.Config{{Name: "default"}})
				if err != nil {
					t.Fatal(err)
				}
				s := New(Config{Engine: &engine.Engine{Version: "26.7.2.1", Timezone: "UTC"}, Access: users, Logger: slog.New(slog.DiscardHandler)})
				client, server := net.Pipe()
				defer client.Close()
				start := time.Now()
				served := make(chan struct{})
				go func() {
					defer close(served)
					(&conn{srv: s, nc: server}).serve(false)
				}()
				go func() {
					hello := []byte{0, 200} // a name of 200 bytes
					for {
						if _, err := client.Write(hello[:1]); err != nil {
							return
						}
						hello = append(hello[1:], 'x')
						select {
						case <-served:
							return
						case <-time.After(every):
						}
					}
				}()
				if _, err := io.Copy(io.Discard, client); err != nil {
					t.Error(err)
				}
				<-served
				if d := time.Since(start); d != helloTimeout {
					t.Errorf("let go after %s, want %s", d, helloTimeout)
				}
			})
		})
	}
}
