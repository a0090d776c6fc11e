// Package client reads hashpivot's live feed (docs/live.md): typed events, in order and each once, over a connection that is made again whenever it
// is lost and goes on where it was.
//
//	c, err := client.Dial(ctx, client.Config{URL: "ws://127.0.0.1:8080/v1/ws"})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	trades, err := c.Subscribe(ctx, client.Spec{Channel: live.Trades, Symbols: []string{"CORZ"}, From: "snapshot"})
//	if err != nil {
//		return err
//	}
//	for msg, err := range trades.Messages(ctx) {
//		if err != nil {
//			return err
//		}
//		trade := msg.Event.(*market.Trade)
//		fmt.Println(trade.EventTime, trade.Symbol, trade.SizeShares, "at", trade.PriceUSD, "USD")
//	}
//
// What cannot be kept is told: Config.OnSkipped says exactly what the gateway left out because a rate was asked for or because it was read too slowly,
// Config.OnGap what it no longer has.
//
// All subscriptions of a Client share its connection. One that is not read holds up the others once its buffer is full.
package client
