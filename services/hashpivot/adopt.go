package main

import (
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/services/lander"
)

type adoptCmd struct {
	Stream []market.Stream `help:"These streams only." placeholder:"STREAM"`
}

// Run lets this NATS land into a database whose rows came from another NATS, which is gone for good.
func (c *adoptCmd) Run(a *app) error {
	cfg, _, err := a.loadBeside()
	if err != nil {
		return err
	}
	if err := a.logger(cfg); err != nil {
		return err
	}
	b, err := openBackends(a.ctx, cfg, a.log)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.prepare(a.ctx, cfg.Mode, streamsOf("lander")...); err != nil {
		return err
	}
	streams := c.Stream
	if len(streams) == 0 {
		streams = market.Streams()
	}
	for _, st := range streams {
		adopted, err := lander.Adopt(a.ctx, landerDeps(cfg, b, a.log, unwatched()), st)
		if err != nil {
			return fmt.Errorf("adopt stream %s: %w", st, err)
		}
		if adopted {
			a.printf("%s: landing begins with this stream; the rows that are there stay\n", st)
		} else {
			a.printf("%s: nothing to adopt\n", st)
		}
	}
	return nil
}
