package vast

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hashpivot/hashpivot/pkg/sim/internal/wire"
	"github.com/hashpivot/hashpivot/pkg/sim/world"
	"github.com/hashpivot/hashpivot/schemas/reference"
)

// generated is a marketplace that is a pure function of seed and time. Machines belong to hosts, some of which have many; each machine is
// listed for a part of each of its spells of some hours, at a price that its host sets anew now and then after the world's level.
type generated struct {
	world    *world.World
	seed     uint64
	machines []machine
}

type machine struct {
	gpu      reference.GPU
	id, host int64
	gpus     int64
	spell    time.Duration // how long between two listings
	reprice  time.Duration
	premium  float64
	verified bool
	region   string
	reliable float64
}

func newGenerated(cfg Config) *generated {
	g := &generated{world: cfg.World, seed: cfg.Seed}
	regions := [...]string{"Texas, US", "California, US", "Virginia, US", "Norway, NO", "Sweden, SE", "France, FR", "Taiwan, TW", "Japan, JP", "Quebec, CA", ", US"}
	sizes := [...]int64{8, 8, 4, 2, 1, 1, 8, 4}
	n := int64(0)
	for _, gpu := range cfg.World.Facts().GPUs {
		count := int64(30 + wire.Uniform(g.seed, "machines "+gpu.Key, 0)*40)
		for range count {
			n++
			u := func(name string) float64 { return wire.Uniform(g.seed, name, n) }
			// Squared: a few hosts have most of the machines.
			host := 50000 + int64(u("host")*u("host")*120)
			m := machine{
				gpu: gpu, id: 10000 + n, host: host, gpus: sizes[int(u("size")*float64(len(sizes)))],
				spell: time.Duration(60+u("spell")*600) * time.Minute, reprice: time.Duration(10+u("reprice")*110) * time.Minute,
				premium:  0.12*(wire.Uniform(g.seed, "host premium", host)*2-1) + 0.18*(u("premium")*2-1),
				verified: u("verified") < 0.7, region: regions[int(u("region")*float64(len(regions)))], reliable: 0.9 + 0.0999*u("reliable"),
			}
			g.machines = append(g.machines, m)
		}
	}
	return g
}

// offer has the fields of the real answer that matter, and some that do not.
type offer struct {
	ID           int64   `json:"id"`
	AskContract  int64   `json:"ask_contract_id"`
	MachineID    int64   `json:"machine_id"`
	HostID       int64   `json:"host_id"`
	GPUName      string  `json:"gpu_name"`
	NumGPUs      int64   `json:"num_gpus"`
	GPURAM       uint32  `json:"gpu_ram"`
	GPUTotalRAM  int64   `json:"gpu_total_ram"`
	GPUFrac      float64 `json:"gpu_frac"`
	GPUArch      string  `json:"gpu_arch"`
	DPHBase      float64 `json:"dph_base"`
	DPHTotal     float64 `json:"dph_total"`
	MinBid       float64 `json:"min_bid"`
	StorageCost  float64 `json:"storage_cost"`
	StorageTotal float64 `json:"storage_total_cost"`
	Reliability  float64 `json:"reliability"`
	Reliability2 float64 `json:"reliability2"`
	Verification string  `json:"verification"`
	Rentable     bool    `json:"rentable"`
	Rented       bool    `json:"rented"`
	IsBid        bool    `json:"is_bid"`
	External     *bool   `json:"external"`
	HostingType  int     `json:"hosting_type"`
	Geolocation  string  `json:"geolocation"`
	StartDate    float64 `json:"start_date"`
	EndDate      float64 `json:"end_date"`
	Duration     float64 `json:"duration"`
	DLPerf       float64 `json:"dlperf"`
	CPUCores     int64   `json:"cpu_cores"`
	DiskSpace    float64 `json:"disk_space"`
}

// listed tells whether the machine is on offer, since when, and as which listing.
func (g *generated) listed(m machine, t time.Time) (spell int64, since time.Time, ok bool) {
	spell = t.UnixNano() / int64(m.spell)
	start := time.Unix(0, spell*int64(m.spell)).UTC()
	u := wire.Uniform(g.seed, "listed", m.id<<24+spell)
	from := start.Add(time.Duration(u * 0.5 * float64(m.spell)))
	to := from.Add(time.Duration((0.3 + 0.7*wire.Uniform(g.seed, "listed for", m.id<<24+spell)) * float64(m.spell)))
	if t.Before(from) || !t.Before(to) {
		return spell, from, false
	}
	// Scarce cards are sold out altogether for some hours.
	hour := t.Unix() / 3600
	scarce := m.gpu.Float() > 3 && wire.Uniform(g.seed, "sold out "+m.gpu.Key, hour/3) < 0.06
	return spell, from, !scarce
}

// storage is what dph_total adds to dph_base for 8 GB of disk, at 0.15 USD per GB and month.
const storage = 8 * 0.15 / 30 / 24

func (g *generated) offers(now time.Time, q query) []offer {
	out := []offer{}
	// Levels at the moments of repricing: machines reprice at different times, so each needs its own; a poll asks for few distinct ones.
	levels := map[int64]world.Levels{}
	for _, m := range g.machines {
		if !q.names(m.gpu.Name) || q.Verified.Eq != nil && *q.Verified.Eq != m.verified {
			continue
		}
		spell, since, ok := g.listed(m, now)
		if !ok || q.Type == "reserved" && m.id%2 == 0 {
			continue
		}
		priced := now.Unix() / int64(m.reprice.Seconds()) * int64(m.reprice.Seconds())
		l, ok := levels[priced]
		if !ok {
			l = g.world.At(time.Unix(priced, 0))
			levels[priced] = l
		}
		n := m.gpus
		if n > 1 && wire.Uniform(g.seed, "split", m.id<<24+spell) < 0.3 {
			n /= 2
		}
		base := l.GPUUSDPerHour[m.gpu.Key] * math.Exp(m.premium) * float64(n)
		base = math.Round(base*1500) / 1500 // a host types a price per month or per GPU: quotients with long tails come out
		o := offer{
			ID: m.id*1_000_000 + spell%1_000_000, MachineID: m.id, HostID: m.host, GPUName: m.gpu.Name, NumGPUs: n, GPURAM: m.gpu.MemoryMiB,
			GPUTotalRAM: int64(m.gpu.MemoryMiB) * n, GPUFrac: float64(n) / float64(m.gpus), GPUArch: "nvidia",
			DPHBase: base, DPHTotal: base + storage, MinBid: base * 0.6, StorageCost: 0.15, StorageTotal: storage,
			Reliability: m.reliable, Reliability2: m.reliable + 1e-7*float64(now.Unix()%100), Verification: "unverified", Rentable: true, HostingType: int(m.id % 2),
			Geolocation: m.region, StartDate: float64(since.UnixMilli()) / 1e3, EndDate: float64(since.Unix() + 90*86400),
			Duration: float64(90*86400) - now.Sub(since).Seconds(), DLPerf: 100 * float64(n), CPUCores: 32 * n, DiskSpace: 500.5,
		}
		o.AskContract = o.ID
		if m.verified {
			o.Verification = "verified"
		}
		switch q.Type {
		case "bid":
			o.IsBid, o.DPHTotal = true, o.MinBid+storage
		case "reserved":
			o.DPHBase, o.DPHTotal = base*0.85, base*0.85+storage
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b offer) int {
		switch {
		case a.DPHTotal < b.DPHTotal:
			return -1
		case a.DPHTotal > b.DPHTotal:
			return 1
		}
		return int(a.ID - b.ID)
	})
	return out[:max(min(len(out), q.Limit), 0)]
}

type supply struct {
	Timestamps      []int64 `json:"timestamps"`
	RentedVerified  []int64 `json:"rented_verified"`
	AvailVerified   []int64 `json:"avail_verified"`
	RentedUnverfied []int64 `json:"rented_unverified"`
	AvailUnverified []int64 `json:"avail_unverified"`
	Total           []int64 `json:"total"`
}

type pricing struct {
	Timestamps   []int64    `json:"timestamps"`
	RentedP10    []*float64 `json:"rented_p10"`
	RentedMedian []*float64 `json:"rented_median"`
	RentedP90    []*float64 `json:"rented_p90"`
	AvailP10     []*float64 `json:"avail_p10"`
	AvailMedian  []*float64 `json:"avail_median"`
	AvailP90     []*float64 `json:"avail_p90"`
}

type model struct {
	Supply  supply             `json:"supply_demand"`
	Pricing pricing            `json:"pricing"`
	Stats   map[string]float64 `json:"stats"`
}

func milli(f float64) *float64 {
	f = math.Round(f*1000) / 1000
	return &f
}

// medians follow the world's level: what is rented costs less than what is not.
func (g *generated) medians(name string, start, end, step int64) (model, bool) {
	i := slices.IndexFunc(g.world.Facts().GPUs, func(x reference.GPU) bool { return strings.EqualFold(x.Name, name) })
	if i < 0 {
		return model{}, false
	}
	key := g.world.Facts().GPUs[i].Key
	m := model{Stats: map[string]float64{"tflops": 50, "dlperf": 100, "tflops_per_dollar": 25, "dlperf_per_dollar": 50}}
	for t := start; t < end; t += step {
		l := g.world.At(time.Unix(t, 0)).GPUUSDPerHour[key]
		busy := int64(300 + 200*wire.Uniform(g.seed, "rented "+key, t/86400))
		m.Supply.Timestamps = append(m.Supply.Timestamps, t)
		m.Supply.RentedVerified = append(m.Supply.RentedVerified, busy)
		m.Supply.AvailVerified = append(m.Supply.AvailVerified, 600-busy)
		m.Supply.RentedUnverfied = append(m.Supply.RentedUnverfied, busy/10)
		m.Supply.AvailUnverified = append(m.Supply.AvailUnverified, 40)
		m.Supply.Total = append(m.Supply.Total, 640+busy/10)
		p := &m.Pricing
		p.Timestamps = append(p.Timestamps, t)
		p.RentedP10, p.RentedMedian, p.RentedP90 = append(p.RentedP10, milli(l*0.7)), append(p.RentedMedian, milli(l*0.92)), append(p.RentedP90, milli(l*1.3))
		p.AvailP10, p.AvailMedian, p.AvailP90 = append(p.AvailP10, milli(l*0.8)), append(p.AvailMedian, milli(l)), append(p.AvailP90, milli(l*1.5))
	}
	return m, true
}
