package hashprice

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// What a decoder passes is valid, or at least does not panic; nothing takes long.
func FuzzKraken(f *testing.F) {
	f.Add([]byte(krakenTick))
	f.Add([]byte(krakenPrnt))
	f.Add([]byte(`{"channel":"status","type":"update","data":[{"system":"online","connection_id":1}]}`))
	f.Add([]byte(`{"method":"subscribe","success":false,"error":"Currency pair not supported"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, channel := range []string{krakenTicker, krakenTrade} {
			m, err := decodeKraken(data, channel, "BTC/USD", time.Unix(1e9, 0))
			if err != nil && feed.ReasonOf(err, "") == "" {
				t.Errorf("an error without a reason: %v", err)
			}
			for _, p := range m.Prices {
				p.Source = "kraken"
				_ = p.Validate()
			}
		}
	})
}

func FuzzReferences(f *testing.F) {
	f.Add([]byte(`{"hash_price":0.039,"hash_value":4E-7,"current_hashrate":1001.23}`))
	f.Add([]byte(`{"data":[{"price":38.4,"timestamp":"2019-08-24T14:15:22Z"}]}`))
	f.Add([]byte(`{"data":[{"asset":"btc","time":"2020-01-01T00:00:00.000000000Z","PriceUSD":"7170.6","HashRate":"112929774.5","IssTotUSD":"15596124.3","FeeTotNtv":"9.88"}]}`))
	f.Add([]byte(`{"error":{"type":"bad_parameter","message":"x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		at := time.Unix(1.5e9, 0)
		resp := &feed.Response{Body: data, Recv: at}
		var all []*market.Hashprice
		a, err1 := decodeLuxor(resp)
		b, err2 := decodeBraiins(resp)
		c, err3 := decodeCoinMetrics(resp)
		for _, err := range []error{err1, err2, err3} {
			if err != nil && feed.ReasonOf(err, "") == "" {
				t.Errorf("an error without a reason: %v", err)
			}
		}
		for _, p := range append(append(append(all, a...), b...), c.days...) {
			p.Source = "x"
			_ = p.Validate()
		}
	})
}

func FuzzBitcoind(f *testing.F) {
	hash := strings.Repeat("0a", 32)
	f.Add([]byte(`{"result":{"chain":"main","blocks":840000,"headers":840000,"bestblockhash":"` + hash + `","initialblockdownload":false},"error":null,"id":"1"}`))
	f.Add([]byte(`{"result":null,"error":{"code":-28,"message":"Loading block index…"},"id":"1"}`))
	f.Add([]byte(`{"result":{"hash":"` + hash + `","confirmations":1,"height":840000,"time":1713571767,"difficulty":86388558925171.02,"previousblockhash":"00","nTx":3050,"blockhash":"` +
		hash + `","subsidy":312500000,"totalfee":3762561499},"error":null}`))
	f.Add([]byte(`{"result":"` + hash + `"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		raw, err := decodeRPC(data, "x")
		if err != nil {
			return
		}
		_, _ = decodeChainInfo(raw)
		_, _ = decodeHash(raw)
		h, err1 := decodeHeader(raw)
		s, err2 := decodeStats(raw)
		if err1 == nil && err2 == nil {
			if b, err := coreBlock(h, s, time.Unix(1.8e9, 0)); err == nil {
				b.Source = "bitcoind"
				_ = b.Validate()
			}
		}
	})
}

func FuzzZMTP(f *testing.F) {
	hello := make([]byte, 64)
	hello[0], hello[9], hello[10] = 0xff, 0x7f, 3
	copy(hello[12:], "NULL")
	ready := "\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB"
	sound := append(append(hello, 4, byte(len(ready))), ready...)
	sound = append(append(sound, 1, 9), "hashblock"...)
	sound = append(append(sound, 1, 32), make([]byte, 32)...)
	f.Add(append(sound, 0, 4, 1, 0, 0, 0))
	f.Add(append(sound, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, data []byte) {
		rw := readWriter{bytes.NewReader(data), &bytes.Buffer{}}
		if zmtpHello(rw) == nil {
			_ = zmtpRead(rw, func([][]byte) {})
		}
	})
}

type readWriter struct {
	r *bytes.Reader
	w *bytes.Buffer
}

func (r readWriter) Read(p []byte) (int, error)  { return r.r.Read(p) }
func (r readWriter) Write(p []byte) (int, error) { return r.w.Write(p) }
