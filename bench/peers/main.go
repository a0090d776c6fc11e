// Command peers serves what the gateway's fan-out is held against: centrifuge, or nats-server's own websocket; and it is the consumer that the lander is
// held against. It is a module of its own, and outside the workspace, so that a peer's dependencies move no version of what is shipped.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "centrifuge":
		err = serveCentrifuge(0)
	case len(os.Args) == 2 && os.Args[1] == "centrifuge-delay":
		err = serveCentrifuge(10 * time.Millisecond)
	case len(os.Args) == 2 && os.Args[1] == "nats":
		err = serveNATS()
	case len(os.Args) == 5 && os.Args[1] == "consumer":
		err = consume(os.Args[2], os.Args[3], os.Args[4])
	default:
		err = fmt.Errorf("name one of centrifuge, centrifuge-delay, nats, or consumer with the addresses of NATS and ClickHouse and a database; not %q", os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}
