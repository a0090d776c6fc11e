package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/gorilla/websocket"
	"google.golang.org/protobuf/proto"

	"github.com/hashpivot/hashpivot/pkg/client"
	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
	livev1 "github.com/hashpivot/hashpivot/schemas/proto/hashpivot/live/v1"
)

func Example() {
	ctx := context.Background()
	url, stop := oneTrade()
	defer stop()

	c, err := client.Dial(ctx, client.Config{URL: url})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	trades, err := c.Subscribe(ctx, client.Spec{Channel: live.Trades, Symbols: []string{"CORZ"}, From: "snapshot"})
	if err != nil {
		log.Fatal(err)
	}
	for msg, err := range trades.Messages(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		trade := msg.Event.(*market.Trade)
		fmt.Println(trade.EventTime, trade.Symbol, trade.SizeShares, "at", trade.PriceUSD, "USD")
		break
	}
	// Output: 2025-11-25 15:30:00 +0000 UTC CORZ 100 at 16.42 USD
}

// oneTrade is a gateway that knows one trade.
func oneTrade() (url string, stop func()) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{Subprotocols: []string{live.ProtoProtocol}}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		_ = ws.WriteJSON(live.Welcome{Type: live.FrameWelcome, Version: live.Version, Mode: "sim", HeartbeatS: 10})
		var q live.Request
		if ws.ReadJSON(&q) != nil {
			return
		}
		spec := q.Spec()
		_ = ws.WriteJSON(live.Ack{Type: live.FrameAck, ID: q.ID, Op: q.Op, Sub: spec.ID(), Subscriptions: []live.Subscription{
			{Sub: spec.ID(), Spec: spec, Epoch: "1", Start: "TRADES:1764084600"},
		}})
		frame, err := proto.Marshal(&livev1.DataFrame{
			Sub: spec.ID(), Snapshot: true, Position: "TRADES:1764084600", Messages: []*livev1.Message{trade(1764084600)},
		})
		if err == nil {
			_ = ws.WriteMessage(websocket.BinaryMessage, frame)
		}
		_ = ws.ReadJSON(&json.RawMessage{}) // until the client closes
	}))
	return srv.URL, srv.Close
}
