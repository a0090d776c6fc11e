package store_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/store"
	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

// BenchmarkBytesPerRow prints what a row of each table takes on disk after merging, and what it takes uncompressed:
//
//	go test ./pkg/store -run '^$' -bench BytesPerRow -benchtime 1x
func BenchmarkBytesPerRow(b *testing.B) {
	ctx := context.Background()
	for b.Loop() {
		st := storetest.Start(b)
		fillTicks(b, st, "trades", 2_000_000)
		fillTicks(b, st, "quotes", 2_000_000)
		slow(b, st)
		for table := range store.Schema() {
			exec(ctx, b, st, "OPTIMIZE TABLE "+table+" FINAL")
		}
		res, err := st.Query(ctx, `SELECT table, sum(rows), round(sum(data_compressed_bytes) / sum(rows), 1), round(sum(data_uncompressed_bytes) / sum(rows), 1)
			FROM system.parts WHERE database = currentDatabase() AND active AND table != 'goose_db_version' GROUP BY table ORDER BY min(modification_time), table`)
		if err != nil {
			b.Fatal(err)
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
		_, _ = fmt.Fprintln(w, "table\trows\tbytes/row\tuncompressed\t")
		for _, r := range res.Rows {
			_, _ = fmt.Fprintf(w, "%v\t%v\t%v\t%v\t\n", r...)
		}
		_ = w.Flush()
	}
}

// slow fills the tables of the slow streams with what a system sees in weeks to years.
func slow(b *testing.B, st *store.Store) {
	r := rand.New(rand.NewPCG(3, 4))
	start := time.Date(2026, 1, 2, 14, 30, 0, 0, time.UTC)
	seq := uint64(0)
	batch := store.NewBatch()
	put := func(ev market.Event) {
		seq++
		m := ev.GetMeta()
		m.RecvTime = m.EventTime.Add(time.Duration(200+r.IntN(400)) * time.Millisecond).Add(time.Duration(r.IntN(1e6)))
		if err := batch.Add(ev, market.Place{Stream: ev.Stream(), Seq: seq, StreamTime: m.RecvTime.Add(time.Duration(2e6 + r.IntN(1e6)))}); err != nil {
			b.Fatal(err)
		}
	}
	walk := func(v *float64, scale int) market.Decimal {
		*v *= 1 + r.NormFloat64()*0.0007
		return decimal(int64(*v*pow(scale)), scale)
	}
	at := func(t time.Time) market.Meta { return market.Meta{EventTime: t, Source: "alpaca"} }
	// 60 sessions of one-minute bars of 20 symbols.
	prices := make([]float64, 20)
	for i := range prices {
		prices[i] = 5 + r.Float64()*100
	}
	for n := range 60 * 390 {
		t := start.AddDate(0, 0, n/390).Add(time.Duration(n%390) * time.Minute)
		for i := range prices {
			o, c := walk(&prices[i], 2), walk(&prices[i], 2)
			hi, lo := o.Max(c), o.Min(c)
			put(&market.Bar{
				Meta: at(t), Symbol: fmt.Sprintf("S%02d", i), Interval: market.Interval1m, OpenUSD: o, HighUSD: hi, LowUSD: lo, CloseUSD: c,
				Volume: decimal(r.Int64N(90000), 0), VWAPUSD: decimal(int64(prices[i]*1e6), 6), TradeCount: uint64(r.IntN(900)), Final: true,
			})
		}
	}
	// Bitcoin every 500 ms for a day, blocks and hashprice for three years, fees every 30 s.
	btc := 91000.0
	for n := range 172_800 {
		p := walk(&btc, 2)
		put(&market.BTCPrice{
			Meta: at(start.Add(time.Duration(n)*500*time.Millisecond + time.Duration(r.IntN(4e8)))), PriceUSD: p, BidUSD: p, AskUSD: decimal(int64(btc*100)+1, 2),
			Volume24hBTC: decimal(700_000_000_000+r.Int64N(1e9), 8), VenueSeq: uint64(90_000_000_000 + n*37),
		})
	}
	difficulty := market.MustDecimal("155973032196071.9")
	for n := range 150_000 {
		t := start.Add(time.Duration(n) * 10 * time.Minute).Truncate(time.Second)
		fees := r.Int64N(9_000_000)
		put(&market.Block{
			Meta: at(t), Height: uint64(900_000 + n), Hash: fmt.Sprintf("%016x%016x%016x%016x", 0, r.Uint64(), r.Uint64(), r.Uint64()), PreviousHash: fmt.Sprintf("%016x%016x%016x%016x", 0, r.Uint64(), r.Uint64(), r.Uint64()),
			Difficulty: difficulty, SubsidySat: 312_500_000, FeesSat: fees, RewardSat: 312_500_000 + fees, TxCount: uint32(r.IntN(6000)), SizeBytes: uint32(1_500_000 + r.IntN(200_000)),
			WeightUnits: uint32(3_990_000 + r.IntN(9000)), Pool: []string{"Foundry USA", "AntPool", "ViaBTC", "F2Pool"}[r.IntN(4)],
		})
		hp := 38 + r.Float64()
		put(&market.Hashprice{
			Meta: at(t), Method: "tip144", Height: uint64(900_000 + n), Difficulty: difficulty, SubsidySat: 312_500_000, MeanFeesSat: decimal(r.Int64N(9_000_000_000), 4),
			FeeWindowBlocks: 144, BTCUSD: walk(&btc, 2), BTCUSDSource: "coinbase", BTCUSDAgeMs: int64(r.IntN(900)), HashpriceBTC: decimal(int64(hp/btc*1e18), 18),
			HashpriceSat: decimal(int64(hp/btc*1e18), 10), HashpriceUSD: decimal(int64(hp*1e14), 14), NetworkEHs: market.MustDecimal("1116.5"),
		})
		if n%4 == 0 {
			put(&market.Fees{
				Meta: at(t), FastestSatPerVB: decimal(1+r.Int64N(20), 0), HalfHourSatPerVB: decimal(1+r.Int64N(9), 0), HourSatPerVB: decimal(1+r.Int64N(5), 0),
				EconomySatPerVB: decimal(1, 0), MinimumSatPerVB: decimal(1, 0),
			})
			put(&market.Difficulty{Meta: at(t), Height: uint64(900_000 + n), Difficulty: difficulty, ChangePercent: 2.83, EstimatedChangePercent: math.Round(r.NormFloat64()*1000) / 1000, RemainingBlocks: uint32(2016 - n%2016), NextRetargetHeight: uint64(900_000 + n - n%2016 + 2016)})
		}
	}
	// Offers changing between polls of a minute, and the rates of each.
	gpus := []string{"h100-sxm", "h100-pcie", "h200-sxm", "a100-sxm", "rtx-4090", "b200-sxm", "l40s", "rtx-5090"}
	for poll := range 3000 {
		t := start.Add(time.Duration(poll) * time.Minute)
		for range 60 {
			id := r.IntN(9000)
			gpu := gpus[id%len(gpus)]
			cents := int64(100 + id%300)
			put(&market.Offer{
				Meta: at(t), Action: market.OfferAction(1 + r.IntN(3)), Provider: "vast", OfferID: strconv.Itoa(20_000_000 + id*37), HostID: strconv.Itoa(50_000 + id/4), MachineID: strconv.Itoa(9000 + id/2),
				GPU: gpu, GPUName: gpu, GPUCount: uint32(1 << r.IntN(4)), GPUMemoryMiB: 81559, Class: market.OnDemand, USDPerGPUHour: decimal(cents, 2), RawPrice: decimal(cents*8, 2),
				RawUnit: "USD/instance-hour", Region: []string{"US", "DE", "SE", "CA"}[id%4], Verified: id%3 != 0, Rentable: true, Reliability: math.Round((0.9+r.Float64()/10)*1e4) / 1e4,
			})
		}
		for i, gpu := range gpus {
			put(&market.Rate{
				Meta: at(t), GPU: gpu, Class: market.OnDemand, Method: "weighted-median", Version: 1, USDPerGPUHour: decimal(int64(150+i*20+r.IntN(5)), 2), P10USDPerGPUHour: decimal(int64(120+i*20), 2),
				P90USDPerGPUHour: decimal(int64(250+i*20), 2), Dispersion: math.Round(r.Float64()*1000) / 1000, SampleOffers: uint32(200 + r.IntN(9)), SampleGPUs: uint32(900 + r.IntN(40)), SampleHosts: uint32(80 + r.IntN(5)),
			})
			put(&market.Signal{
				Meta: at(t), Name: "pivot_premium", Symbol: gpu, Value: decimal(int64(3e6+r.IntN(1e5)), 6), Unit: "ratio",
				Inputs: map[string]string{"gpu_usd_per_mwh": strconv.Itoa(900 + r.IntN(50)), "mining_usd_per_mwh": strconv.Itoa(80 + r.IntN(9)), "utilisation": "0.7"},
			})
		}
	}
	if err := st.Insert(context.Background(), batch, "slow"); err != nil {
		b.Fatal(err)
	}
}
