package gpurates

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/vast"
)

// Five days of real answers give an H100 SXM index a day, with its sample; each value is computed again from the offers as they were published.
func TestRealOffersGiveADailyH100Index(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(recordings); os.IsNotExist(err) {
		t.Skipf("no recordings at %s: this test needs real offers that are not part of the project", recordings)
	}
	_, cfg := start(t, vast.Config{Dir: recordings})
	cfg.StopAtEnd, cfg.Vast.Source = true, "rec-vast"
	mem := feedtest.NewMemory()
	if err := Run(t.Context(), cfg, over(mem)); err != nil {
		t.Fatal(err)
	}
	log := feedtest.Of[*market.Offer](mem)
	var got []string
	for _, r := range feedtest.Of[*market.Rate](mem) {
		if r.Method != methodVast || r.GPU != "h100-sxm" || r.Class != market.OnDemand {
			continue
		}
		got = append(got, fmt.Sprintf("%s %s USD/GPU-h, p10 %s, p90 %s, %d offers, %d GPUs, %d hosts", r.EventTime.Format(time.DateOnly),
			r.USDPerGPUHour.Trim(0), r.P10USDPerGPUHour.Trim(0), r.P90USDPerGPUHour.Trim(0), r.SampleOffers, r.SampleGPUs, r.SampleHosts))
		again, err := Recompute(r, log)
		if err != nil {
			t.Fatal(err)
		}
		if d := Differs(r, again); len(d) > 0 {
			t.Errorf("%s: differs in %v when computed again: %+v, %+v", r.EventTime, d, r, again)
		}
	}
	for _, line := range got {
		t.Log(line)
	}
	want := []string{
		"2026-02-27 1.86805556 USD/GPU-h, p10 1.55518519, p90 2.13361111, 21 offers, 65 GPUs, 8 hosts",
		"2026-02-28 1.8672963 USD/GPU-h, p10 1.53518519, p90 2.00027778, 16 offers, 37 GPUs, 7 hosts",
		"2026-03-01 1.68222222 USD/GPU-h, p10 1.55518519, p90 2.26722222, 15 offers, 43 GPUs, 7 hosts",
		"2026-03-02 1.86740741 USD/GPU-h, p10 1.56444444, p90 2.13361111, 9 offers, 19 GPUs, 7 hosts",
		"2026-03-03 1.86703704 USD/GPU-h, p10 1.55703704, p90 2.13361111, 15 offers, 36 GPUs, 8 hosts",
	}
	if !slices.Equal(got, want) {
		t.Errorf("want %q", want)
	}
}
