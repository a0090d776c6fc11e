package gpurates

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/sim/vast"
)

// Whoever changes a value of vast-wmedian has to raise its version: rows of one version are of one calculation.
func TestVastIndexIsThatOfVersion1(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(recordings); os.IsNotExist(err) {
		t.Skipf("no recordings at %s: this test recomputes real offers that are not part of the project", recordings)
	}
	_, cfg := start(t, vast.Config{Dir: recordings})
	cfg.StopAtEnd, cfg.Vast.Source = true, "rec-vast"
	mem := feedtest.NewMemory()
	if err := Run(t.Context(), cfg, over(mem)); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	n := 0
	for _, r := range feedtest.Of[*market.Rate](mem) {
		if r.Method == methodVast {
			n++
			_, _ = fmt.Fprintln(h, r.EventTime.Unix(), r.GPU, r.Class, r.USDPerGPUHour.Trim(0), r.P10USDPerGPUHour.Trim(0), r.P90USDPerGPUHour.Trim(0), r.Dispersion, r.SampleOffers, r.SampleGPUs, r.SampleHosts)
		}
	}
	const want = "b5ba26d61e134ab2eabb845fd7420929b7ca75d66545eb2cc81221a8ae765e95"
	if got := hex.EncodeToString(h.Sum(nil)); versionVast == 1 && (n != 42 || got != want) {
		t.Errorf("%d values, sum %s; version 1 has %s", n, got, want)
	}
}
