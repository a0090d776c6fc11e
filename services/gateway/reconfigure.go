package gateway

import (
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/services/gateway/auth"
	"github.com/hashpivot/hashpivot/services/gateway/limit"
)

// Reconfigure puts other limits and other rules of access in force while the gateway runs; key files are read again. An error leaves everything as it was. Where
// access is withdrawn (a key is gone, anonymous readers may do less), the clients are sent to connect again, with a token that says up to where they have everything:
// whoever still may misses nothing.
func (g *Gateway) Reconfigure(limits limit.Config, access auth.Config) error {
	if err := limits.Validate(); err != nil {
		return fmt.Errorf("gateway.%w", err)
	}
	before := g.auth.Load()
	next, err := before.Again(access)
	if err != nil {
		return fmt.Errorf("gateway.%w", err)
	}
	if err := g.limits.Set(limits); err != nil {
		return fmt.Errorf("gateway.%w", err)
	}
	g.auth.Store(next)
	withdrawn := before.Withdraws(next)
	for _, c := range g.list() {
		c.place.Adapt()
		if withdrawn {
			c.leave(live.CloseShutdown, "access has changed; connect again")
		}
	}
	return nil
}
