package chain

import (
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/world"
)

func made(t *testing.T, cfg Config) *Chain {
	t.Helper()
	w, err := world.New(world.Config{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	cfg.World, cfg.Seed = w, 1
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A simulator that is started on the last of a month and one that is started on the first of the next tell one chain: a data directory
// that is kept across the month sees no reorganisation.
func TestTheChainGoesOnAcrossAMonth(t *testing.T) {
	end := time.Date(2026, 12, 31, 23, 59, 0, 0, time.UTC)
	before, after := made(t, Config{}), made(t, Config{})
	tip := before.Tip(end)
	if now := after.Tip(end.Add(2 * time.Minute)); now < tip || now > tip+4 {
		t.Fatalf("tip %d at the end of the month, %d two minutes later", tip, now)
	}
	if before.Hash(tip) != after.Hash(tip) {
		t.Error("another chain after the month")
	}
}

func TestHalvingsTakeMinersWithThem(t *testing.T) {
	c := made(t, Config{Height: 1_049_000})
	before, after := c.Difficulty(1_049_999), c.Difficulty(1_050_000+RetargetBlocks)
	if r := after / before; r < 0.45 || r > 0.56 {
		t.Errorf("difficulty %v before the halving, %v a period later", before, after)
	}
	if b := c.Block(1_050_000); b.SubsidySat != 156_250_000 {
		t.Errorf("subsidy %d", b.SubsidySat)
	}
}

func TestOrderedFactsAndForks(t *testing.T) {
	c := made(t, Config{Height: 840_000})
	now := DefaultOrigin().Add(time.Hour)
	at := time.Unix(1713571767, 0)
	c.Set(840_000, Facts{FeesSat: 3762561499, Time: at})
	c.Set(838_656, Facts{Difficulty: 86388558925171.02})
	b := c.Block(840_000)
	if b.FeesSat != 3762561499 || !b.Time.Equal(at) || b.Difficulty != 86388558925171.02 || b.SubsidySat != 312500000 {
		t.Errorf("%+v", b)
	}
	tip := c.Tip(now)
	old, kept := c.Hash(tip), c.Hash(tip-3)
	c.Reorg(now, 3)
	if c.Hash(tip) == old || c.Hash(tip-3) != kept {
		t.Error("a reorganisation of three did not change three")
	}
	c.Mine(2)
	if c.Tip(now) != tip+2 {
		t.Errorf("tip %d after two more blocks, was %d", c.Tip(now), tip)
	}
}
