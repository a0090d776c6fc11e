package hashprice

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed/feedtest"
	"github.com/hashpivot/hashpivot/pkg/market"
	simchain "github.com/hashpivot/hashpivot/pkg/sim/chain"
)

// A frame that claims to be as long as can be is not believed, and costs the connection alone: the subscriber comes again.
func TestAPushThatLiesCostsItsConnectionOnly(t *testing.T) {
	o := observe(t, simchain.Config{Height: 900_000})
	o.cfg.Mempool.Enabled, o.cfg.Bitcoind.PollEvery = false, time.Hour
	mem := feedtest.NewMemory()
	runService(t, o.cfg, mem)
	tip := uint64(o.chain.Tip(time.Now()))
	wait(t, mem, "a hashprice", atHeight(tip, "sim-bitcoind"))
	subscribed := func() {
		t.Helper()
		for limit := time.Now().Add(10 * time.Second); o.bitcoind.Subscribers() == 0; {
			if time.Now().After(limit) {
				t.Fatal("nobody subscribes")
			}
			<-time.After(time.Millisecond)
		}
	}
	for _, lie := range [][]byte{
		append([]byte{zmtpLong}, bytes.Repeat([]byte{0xff}, 8)...),                    // 2^64-1 bytes
		bytes.Repeat([]byte{zmtpMore, 1, 'x'}, 9),                                     // a message without end
		append([]byte{0, 3}, "abc"...),                                                // not the push's form: no block, no end
		append(append([]byte{zmtpMore, 9}, zmqTopic...), zmtpMore, 1, 'x', 0, 1, 'y'), // a hash that is none
	} {
		subscribed()
		o.bitcoind.InjectZMQ(lie)
	}
	o.bitcoind.DropZMQ()
	for o.bitcoind.Subscribers() > 0 {
		<-time.After(time.Millisecond)
	}
	subscribed()
	o.chain.Mine(1)
	o.bitcoind.Notify()
	wait(t, mem, "the next block by the push", atHeight(tip+1, "sim-bitcoind"))
	if lost := count(mem.Events(), func(f *market.FeedEvent) bool { return f.State == market.FeedLost }); lost > 0 {
		t.Errorf("the feed was lost %d times over its push", lost)
	}
}

func TestOnlyZMTPIsListenedTo(t *testing.T) {
	for name, x := range map[string]struct{ sent, want string }{
		"a web server": {"HTTP/1.1 400 Bad Request\r\n" + strings.Repeat(" ", 60), "does not speak ZMTP"},
		"security":     {"\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x00CURVE" + strings.Repeat("\x00", 47), "wants authentication"},
		"short":        {"\xff", "read greeting"},
		"no READY":     {"\xff\x00\x00\x00\x00\x00\x00\x00\x00\x7f\x03\x00NULL" + strings.Repeat("\x00", 48) + "\x04\x05\x05ERROR", "instead of READY"},
	} {
		err := zmtpHello(readWriter{bytes.NewReader([]byte(x.sent)), &bytes.Buffer{}})
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
