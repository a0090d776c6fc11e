package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/shopspring/decimal"

	"github.com/hashpivot/hashpivot/pkg/market"
	"github.com/hashpivot/hashpivot/pkg/wire"
)

// The settings are GlassFlow's sink's (clickhouse-etl: AckExplicit, AckWait 30 s, MaxDeliver 10, MaxAckPending four batches, a NAK with 5 s of delay after an
// insert that failed, an ack after one that did not, no deduplication token), and for the batch those of ClickHouse's own market data demonstration
// (StockHouse: 50,000 rows or a second).
const (
	consumerRows    = 50_000
	consumerWait    = time.Second
	consumerAckWait = 30 * time.Second
	consumerDeliver = 10
	consumerDelay   = 5 * time.Second
)

// consume lands TRADES as most consumers do: a durable pull consumer, a batch by count or time, an insert, then the acks.
func consume(natsURL, addr, database string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	nc, err := nats.Connect(natsURL, nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	cons, err := js.CreateOrUpdateConsumer(ctx, string(market.Trades), jetstream.ConsumerConfig{
		Durable: "peer", AckPolicy: jetstream.AckExplicitPolicy, AckWait: consumerAckWait, MaxDeliver: consumerDeliver, MaxAckPending: 4 * consumerRows,
	})
	if err != nil {
		return fmt.Errorf("make the consumer: %w", err)
	}
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{addr}, Auth: clickhouse.Auth{Database: database, Username: "default"}})
	if err != nil {
		return fmt.Errorf("open ClickHouse: %w", err)
	}
	defer func() { _ = conn.Close() }()
	iter, err := cons.Messages()
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	defer iter.Stop()
	for ctx.Err() == nil {
		b, err := gather(ctx, iter)
		if err != nil {
			return err
		}
		if len(b.trades) > 0 {
			err = b.insert(ctx, conn)
		}
		if err != nil {
			slog.Warn("insert failed, to be delivered again", "messages", len(b.messages), "err", err)
		}
		b.settle(err)
	}
	return nil
}

// batch is what goes into one insert.
type batch struct {
	messages []jetstream.Msg
	trades   []placed
}

type placed struct {
	trade *market.Trade
	at    market.Place
}

// gather takes messages until the batch is full or its time is over.
func gather(ctx context.Context, iter jetstream.MessagesContext) (batch, error) {
	var b batch
	deadline := time.Now().Add(consumerWait)
	for len(b.trades) < consumerRows {
		left := time.Until(deadline)
		if left <= 0 || ctx.Err() != nil {
			break
		}
		m, err := iter.Next(jetstream.NextMaxWait(left))
		if errors.Is(err, nats.ErrTimeout) {
			break
		}
		if err != nil {
			return b, fmt.Errorf("read the stream: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return b, fmt.Errorf("read the stream: %w", err)
		}
		events, err := wire.Decode(market.Trades, m.Data())
		if err != nil {
			_ = m.TermWithReason(err.Error())
			continue
		}
		b.messages = append(b.messages, m)
		for i, ev := range events {
			at := market.Place{Stream: market.Trades, Seq: meta.Sequence.Stream, Idx: uint32(i), StreamTime: meta.Timestamp}
			b.trades = append(b.trades, placed{ev.(*market.Trade), at})
		}
	}
	return b, nil
}

func (b *batch) insert(ctx context.Context, conn driver.Conn) error {
	rows, err := conn.PrepareBatch(ctx, `INSERT INTO trades (event_time, recv_to_stream_ns, stream_after_event_ns, stream_seq, idx, source, rev, backfill, action, symbol, trade_text, exchange,
		tape, price_usd, size_shares, condition_codes, original_trade_id, original_price_usd, original_size_shares, cancel_code, sequence)`)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = rows.Abort() }() // nothing after Send
	for _, p := range b.trades {
		t := p.trade
		err := rows.Append(t.EventTime, int64(p.at.StreamTime.Sub(t.RecvTime)), int64(p.at.StreamTime.Sub(t.EventTime.Truncate(time.Microsecond))), p.at.Seq, p.at.Idx, t.Source, t.Rev, t.Backfill, int8(t.Action), t.Symbol, t.ID, t.Exchange,
			t.Tape, exact(t.PriceUSD), exact(t.SizeShares), joined(t.Conditions), t.OriginalID, exact(t.OriginalPriceUSD), exact(t.OriginalSizeShares), t.CancelCode, t.Sequence)
		if err != nil {
			return fmt.Errorf("append: %w", err)
		}
	}
	if err := rows.Send(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// joined are the codes as their column holds them; those of the load have no comma.
func joined(codes []string) string {
	if len(codes) == 0 {
		return ""
	}
	return strings.Join(codes, ",") + ","
}

// exact is a decimal as clickhouse-go wants it.
func exact(d market.Decimal) decimal.Decimal {
	v := decimal.NewFromUint64(d.Coef()).Shift(-int32(d.Scale()))
	if d.IsNeg() {
		return v.Neg()
	}
	return v
}

// settle acknowledges what is stored, or wants it again.
func (b *batch) settle(failed error) {
	for _, m := range b.messages {
		var err error
		if failed != nil {
			err = m.NakWithDelay(consumerDelay)
		} else {
			err = m.Ack()
		}
		if err != nil {
			slog.Warn("settle a message", "err", err)
		}
	}
}
