package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/run"
	"github.com/hashpivot/hashpivot/services/gpurates"
)

type ratesCmd struct {
	Recompute recomputeCmd `cmd:"" help:"Compute stored GPU rate indices again from the stored offers; exit 1 where one differs."`
}

type recomputeCmd struct {
	GPU   string `help:"The model, such as h100-sxm." required:"" placeholder:"GPU"`
	Class string `help:"on-demand, interruptible or reserved; empty: all." placeholder:"CLASS"`
	Since string `help:"Rates stored since: a date, a time, or a duration before now." default:"1h" placeholder:"TIME"`
}

// errDiffers ends the program with code 1 after the result has been printed.
var errDiffers = errors.New("a stored rate is not what its offers give")

// recomputed is a stored rate and what its offers give.
type recomputed struct {
	At      time.Time `json:"at"`
	Class   string    `json:"class"`
	Method  string    `json:"method"`
	Stored  string    `json:"usd_per_gpu_hour"`
	Again   string    `json:"recomputed_usd_per_gpu_hour"`
	Offers  uint32    `json:"sample_offers"`
	Differs []string  `json:"differs"`
}

// Run reads rates and offers from JetStream.
func (c *recomputeCmd) Run(a *app) error {
	since, err := run.ParseTime(c.Since, time.Now())
	if err != nil {
		return run.Usage(fmt.Errorf("--since: %w", err))
	}
	b, cfg, err := a.attach()
	if err != nil {
		return err
	}
	defer b.close()
	marked := func(source string) string {
		return cfg.Mode.prefix() + strings.TrimPrefix(source, cfg.Mode.prefix())
	}
	var log []*market.Offer
	for _, source := range cfg.GPURates.OfferSources() {
		err := b.bus.Replay(a.ctx, market.Offers, marked(source), time.Time{}, func(ev market.Event, _ market.Place) error {
			if o, ok := ev.(*market.Offer); ok {
				log = append(log, o)
			}
			return nil
		}, "offer", "*", c.GPU)
		if err != nil {
			return fmt.Errorf("read offers of %s: %w", marked(source), err)
		}
	}
	var out []recomputed
	for _, source := range []string{cfg.GPURates.Index.Source, cfg.GPURates.Vast.Source} {
		err := b.bus.Replay(a.ctx, market.Rates, marked(source), since, func(ev market.Event, _ market.Place) error {
			r, ok := ev.(*market.Rate)
			if !ok || c.Class != "" && string(r.Class) != c.Class || !gpurates.Recomputable(r) {
				return nil
			}
			again, err := gpurates.Recompute(r, log)
			if err != nil {
				return err
			}
			out = append(out, recomputed{r.EventTime, string(r.Class), r.Method, r.USDPerGPUHour.String(), again.USDPerGPUHour.String(), r.SampleOffers, gpurates.Differs(r, again)})
			return nil
		}, "rate", c.GPU, "*")
		if err != nil {
			return fmt.Errorf("recompute rates of %s: %w", marked(source), err)
		}
	}
	return a.printRecomputed(out)
}

func (a *app) printRecomputed(out []recomputed) error {
	if len(out) == 0 {
		return run.Usage(errors.New("there is no such rate; widen --since, or see gpu_rates for the models that have one"))
	}
	differ := slices.DeleteFunc(slices.Clone(out), func(x recomputed) bool { return len(x.Differs) == 0 })
	if a.cli.JSON {
		for _, x := range out {
			line, err := json.Marshal(x)
			if err != nil {
				return err
			}
			a.printf("%s\n", line)
		}
	} else {
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		for _, x := range differ {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\tstored %s\tagain %s\tdiffers in %s\n", x.At.Format(time.RFC3339Nano), x.Class, x.Method, x.Stored, x.Again, strings.Join(x.Differs, ", "))
		}
		_ = w.Flush()
		a.printf("%d rates computed again, %d differ\n", len(out), len(differ))
	}
	if len(differ) > 0 {
		return errDiffers
	}
	return nil
}
