//go:build linux

package chaos

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashpivot/hashpivot/pkg/client"
	"github.com/hashpivot/hashpivot/pkg/live"
)

// listener is a client of the live feed that counts what it is told of the flood.
type listener struct {
	name    string
	where   string // of the rows that it follows
	c       *client.Client
	sub     *client.Subscription
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	once    sync.Once
	ctx     context.Context //nolint:containedctx // the reading's, which begins later than the listener
	told    atomic.Uint64
	skipped atomic.Uint64
	trouble atomic.Value // error
}

// listen connects the clients: one that wants every quote of a symbol, one that wants one a second of each, and one that does not read before the load is over.
func (o *overload) listen(ctx context.Context) error {
	for _, x := range []struct {
		name string
		spec client.Spec
		late bool
	}{
		{"all", client.Spec{Channel: live.Quotes, Symbols: symbols[:1], Source: floodSource}, false},
		{"one a second", client.Spec{Channel: live.Quotes, Symbols: []string{"*"}, Source: floodSource, MaxRate: 1}, false},
		{"reads nothing", client.Spec{Channel: live.Quotes, Symbols: symbols[1:2], Source: floodSource}, true},
	} {
		l := &listener{name: x.name, where: "source = '" + floodSource + "'"}
		if x.spec.Symbols[0] != "*" {
			l.where += " AND symbol = '" + x.spec.Symbols[0] + "'"
		}
		l.ctx, l.cancel = context.WithCancel(o.ctx)
		var err error
		l.c, err = client.Dial(ctx, client.Config{
			URL: "ws://" + o.gates[0] + "/v1/ws",
			OnSkipped: func(_ *client.Subscription, all []live.Skipped) {
				for _, s := range all {
					l.skipped.Add(s.Count)
				}
			},
		})
		if err != nil {
			return fmt.Errorf("client %s: %w", x.name, err)
		}
		o.clients = append(o.clients, l)
		if l.sub, err = l.c.Subscribe(ctx, x.spec); err != nil {
			return fmt.Errorf("client %s: %w", x.name, err)
		}
		if !x.late {
			l.read()
		}
	}
	return nil
}

// read begins to read, unless it has.
func (l *listener) read() {
	l.once.Do(func() {
		l.wg.Go(func() {
			for _, err := range l.sub.Messages(l.ctx) {
				if err != nil {
					if l.ctx.Err() == nil {
						l.trouble.Store(err)
					}
					return
				}
				l.told.Add(1)
			}
		})
	})
}

func (l *listener) close() {
	l.cancel()
	l.wg.Wait()
	l.c.Close()
}

// count holds what a client was told against the rows.
func (o *overload) count(ctx context.Context, l *listener) (clientCount, error) {
	if err, ok := l.trouble.Load().(error); ok {
		return clientCount{}, fmt.Errorf("client %s: %w", l.name, err)
	}
	out, err := o.sql(ctx, "SELECT count() FROM quotes WHERE "+l.where)
	if err != nil {
		return clientCount{}, err
	}
	c := clientCount{Told: l.told.Load(), Skipped: l.skipped.Load()}
	_, err = fmt.Sscan(out, &c.Rows)
	return c, err
}
