package alpaca

import (
	"fmt"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// message is one element of a stream frame, decoded.
type message struct {
	event   market.Event // nil for the others
	control *control     // nil for the others
	raw     []byte       // what it came from
	err     error        // it was refused; the frame goes on
}

// control is a success, an error or the answer to a subscription.
type control struct {
	typ  string // success, error, subscription
	code uint64
	msg  string
	// subscribed is the whole state after a subscription, symbols by channel.
	subscribed map[string][]string
}

// decoder turns frames of the Alpaca stream and pages of its history into events. It is not safe for concurrent use. It does not judge
// values: that is market.Event.Validate's, in feed.Emit.
type decoder struct {
	asked func(symbol string) bool // nil: all
	in    *interner
	obj   object
	// scan is d.scanMessage, and field d.obj.add: made once, as a method value costs an allocation.
	scan  scanFunc
	field func(key []byte, f value) error
	read  bool // obj has the fields of the element that was scanned last
}

func newDecoder(asked func(symbol string) bool) *decoder {
	d := &decoder{asked: asked, in: newInterner()}
	d.scan, d.field = d.scanMessage, d.obj.add
	return d
}

// scanMessage is scanJSON that keeps the fields of an object, so that a message is read once and not twice.
func (d *decoder) scanMessage(b []byte, depth int) (value, []byte, error) {
	d.read = false
	if len(b) == 0 || b[0] != '{' {
		return scanJSON(b, depth)
	}
	d.obj.reset()
	rest := b
	if err := walkObject(b, depth, d.field, &rest); err != nil {
		return value{}, nil, err
	}
	d.read = true
	return value{kind: kMap, raw: b[:len(b)-len(rest)]}, rest, nil
}

// frame decodes a stream frame: an array of messages. Good messages before a defect that makes the rest unreadable are still
// given out. The error of fn ends it and is returned as it is; a defect of the frame is a *feed.Malformed.
func (d *decoder) frame(data []byte, binary bool, fn func(message) error) error {
	var stop error
	each := func(e value, raw []byte) error {
		stop = fn(d.message(e, raw))
		return stop
	}
	var err error
	if binary {
		if len(data) == 0 {
			return malformed("an empty frame")
		}
		if c := data[0]; c&0xf0 != 0x90 && c != 0xdc && c != 0xdd {
			return malformed("a frame that is no MsgPack array")
		}
		d.read = false
		err = packElements(data, each)
	} else {
		data = skipSpace(data)
		if len(data) == 0 || data[0] != '[' {
			return malformed("a frame that is no JSON array")
		}
		var rest []byte
		err = walkArray(data, 0, d.scan, each, &rest)
	}
	if stop != nil {
		return stop
	}
	if err != nil {
		return malformed("frame: %w", err)
	}
	return nil
}

func (d *decoder) message(e value, raw []byte) message {
	m := message{raw: raw}
	if !d.read {
		m.err = d.obj.read(e)
	}
	if m.err == nil {
		m.err = d.obj.err
	}
	if m.err != nil {
		return m
	}
	o := &d.obj
	o.in = d.in
	typ := o.text("T", required)
	if o.err != nil {
		m.err = o.err
		return m
	}
	switch typ {
	case "t":
		m.event = o.trade(o.text("S", required))
	case "q":
		m.event = o.quote(o.text("S", required))
	case "b", "u":
		m.event = o.bar(o.text("S", required), market.Interval1m)
	case "d":
		m.event = o.bar(o.text("S", required), market.Interval1d)
	case "s":
		m.event = o.status()
	case "l":
		m.event = o.luld()
	case "c":
		m.event = o.correction()
	case "x":
		m.event = o.cancel()
	case "i":
		m.event = o.imbalance()
	case "success", "error", "subscription":
		if m.control, m.err = o.control(typ); m.err != nil {
			m.control = nil
		}
		return m
	default:
		m.err = &feed.Malformed{Reason: feed.ReasonUnknownType, Err: fmt.Errorf("message type %.32q", typ)}
		return m
	}
	if m.err = o.err; m.err == nil {
		m.err = d.known(o.symbol)
	}
	if m.err != nil {
		m.event = nil
	}
	return m
}

// known refuses a symbol that was not asked for: an upstream must not be able to make subjects at will.
func (d *decoder) known(symbol string) error {
	if d.asked != nil && !d.asked(symbol) {
		return &feed.Malformed{Reason: feed.ReasonProtocol, Err: fmt.Errorf("symbol %.32q was not asked for", symbol)}
	}
	return nil
}

// object is a message's fields. Its getters remember the first error.
type object struct {
	in     *interner
	list   []objectField
	newest [64]uint8 // 1 + index of the newest field whose key has the hash; 0: none
	err    error
	symbol string
}

type objectField struct {
	key []byte
	val value
}

// maxFields bounds the fields of a message; the protocol's longest has thirteen.
const maxFields = 64

func (o *object) reset() { o.list, o.newest, o.err, o.symbol = o.list[:0], [64]uint8{}, nil, "" }

// slot of a key among the newest. The protocol's keys are of one or two bytes.
func slot[K string | []byte](key K) uint8 {
	if len(key) == 0 {
		return 0
	}
	return (key[0] ^ key[len(key)-1]<<3 ^ uint8(len(key))) & 63
}

func (o *object) read(e value) error {
	o.reset()
	if err := e.fields(o.add); err != nil {
		return err
	}
	return o.err
}

// add takes a field. One too many is an error of the message, not of what it stands in.
func (o *object) add(key []byte, f value) error {
	if len(o.list) < maxFields {
		o.list = append(o.list, objectField{key, f})
		o.newest[slot(key)] = uint8(len(o.list))
	} else if o.err == nil {
		o.err = malformed("a message of more than %d fields", maxFields)
	}
	return nil
}

type need bool

const (
	required need = true
	optional need = false
)

// get finds a field; of a doubled one the last, as JSON readers do.
func (o *object) get(key string, n need) (value, bool) {
	if i := o.newest[slot(key)]; i > 0 {
		if f := &o.list[i-1]; string(f.key) == key && f.val.kind != kNull {
			return f.val, true
		}
	}
	for i := len(o.list) - 1; i >= 0; i-- {
		if f := &o.list[i]; string(f.key) == key && f.val.kind != kNull {
			return f.val, true
		}
	}
	if n == required && o.err == nil {
		o.err = &market.Invalid{Reason: market.ReasonMissing, Detail: fmt.Sprintf("field %s is missing", key)}
	}
	return value{}, false
}

func (o *object) fail(key string, err error) {
	if o.err == nil && err != nil {
		o.err = fmt.Errorf("field %s: %w", key, err)
	}
}

func (o *object) text(key string, n need) string {
	v, ok := o.get(key, n)
	if !ok {
		return ""
	}
	s, err := v.text(o.in)
	o.fail(key, err)
	return s
}

func (o *object) texts(key string) []string {
	v, ok := o.get(key, optional)
	if !ok {
		return nil
	}
	s, err := v.texts(o.in)
	o.fail(key, err)
	return s
}

func (o *object) decimal(key string, n need) market.Decimal {
	v, ok := o.get(key, n)
	if !ok {
		return market.Decimal{}
	}
	d, err := v.decimal()
	o.fail(key, err)
	return d
}

func (o *object) id(key string) string {
	v, ok := o.get(key, required)
	if !ok {
		return ""
	}
	s, err := v.digits()
	o.fail(key, err)
	return s
}

func (o *object) count(key string, n need) uint64 {
	v, ok := o.get(key, n)
	if !ok {
		return 0
	}
	c, err := v.count()
	o.fail(key, err)
	return c
}

func (o *object) meta() (m market.Meta) {
	v, ok := o.get("t", required)
	if !ok {
		return m
	}
	t, err := v.time()
	o.fail("t", err)
	m.EventTime = t
	return m
}

// A size is decoded as a decimal although the venue's specification says integer: the tapes began to carry fractions in 2026.

func (o *object) trade(symbol string) *market.Trade {
	o.symbol = symbol
	return &market.Trade{
		Meta: o.meta(), Action: market.TradeNew, Symbol: symbol, ID: o.id("i"), Exchange: o.text("x", optional), Tape: o.text("z", optional),
		PriceUSD: o.decimal("p", required), SizeShares: o.decimal("s", required), Conditions: o.texts("c"),
	}
}

func (o *object) quote(symbol string) *market.Quote {
	o.symbol = symbol
	return &market.Quote{
		Meta: o.meta(), Symbol: symbol, BidExchange: o.text("bx", optional), AskExchange: o.text("ax", optional),
		BidPriceUSD: o.decimal("bp", required), AskPriceUSD: o.decimal("ap", required),
		BidSizeShares: o.decimal("bs", required), AskSizeShares: o.decimal("as", required),
		Conditions: o.texts("c"), Tape: o.text("z", optional),
	}
}

func (o *object) bar(symbol string, interval market.Interval) *market.Bar {
	o.symbol = symbol
	return &market.Bar{
		Meta: o.meta(), Symbol: symbol, Interval: interval,
		OpenUSD: o.decimal("o", required), HighUSD: o.decimal("h", required), LowUSD: o.decimal("l", required), CloseUSD: o.decimal("c", required),
		Volume: o.decimal("v", required), VWAPUSD: o.decimal("vw", optional), TradeCount: o.count("n", optional),
	}
}

func (o *object) status() *market.Halt {
	o.symbol = o.text("S", required)
	return &market.Halt{
		Meta: o.meta(), Kind: market.HaltStatus, Symbol: o.symbol, StatusCode: o.text("sc", required), StatusText: o.text("sm", optional),
		ReasonCode: o.text("rc", optional), ReasonText: o.text("rm", optional), Tape: o.text("z", optional),
	}
}

func (o *object) luld() *market.Halt {
	o.symbol = o.text("S", required)
	return &market.Halt{
		Meta: o.meta(), Kind: market.HaltLULD, Symbol: o.symbol, LimitUpUSD: o.decimal("u", required), LimitDownUSD: o.decimal("d", required),
		Indicator: o.text("i", optional), Tape: o.text("z", optional),
	}
}

func (o *object) imbalance() *market.Imbalance {
	o.symbol = o.text("S", required)
	return &market.Imbalance{Meta: o.meta(), Symbol: o.symbol, PriceUSD: o.decimal("p", required), Tape: o.text("z", optional)}
}

func (o *object) correction() *market.Trade {
	o.symbol = o.text("S", required)
	return &market.Trade{
		Meta: o.meta(), Action: market.TradeCorrection, Symbol: o.symbol, Exchange: o.text("x", optional), Tape: o.text("z", optional),
		ID: o.id("ci"), PriceUSD: o.decimal("cp", required), SizeShares: o.decimal("cs", required), Conditions: o.texts("cc"),
		OriginalID: o.id("oi"), OriginalPriceUSD: o.decimal("op", optional), OriginalSizeShares: o.decimal("os", optional),
	}
}

func (o *object) cancel() *market.Trade {
	o.symbol = o.text("S", required)
	return &market.Trade{
		Meta: o.meta(), Action: market.TradeCancel, Symbol: o.symbol, Exchange: o.text("x", optional), Tape: o.text("z", optional),
		ID: o.id("i"), PriceUSD: o.decimal("p", required), SizeShares: o.decimal("s", required), CancelCode: o.text("a", optional),
	}
}

// The channels of a subscription.
var channels = []string{"trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "imbalances", "corrections", "cancelErrors"}

func (o *object) control(typ string) (*control, error) {
	c := &control{typ: typ}
	switch typ {
	case "subscription":
		c.subscribed = map[string][]string{}
		for _, ch := range channels {
			v, ok := o.get(ch, optional)
			if !ok {
				continue
			}
			// The answer has as many symbols as we asked for, more than a print has conditions.
			var list []string
			o.fail(ch, v.elements(func(e value, _ []byte) error {
				s, err := e.text(o.in)
				list = append(list, s)
				return err
			}))
			c.subscribed[ch] = list
		}
	case "error":
		c.code, c.msg = o.count("code", required), o.text("msg", optional)
	default:
		c.msg = o.text("msg", required)
	}
	return c, o.err
}
