// Package limit bounds how much one client, one address, one subject and all of them together may have of the gateway.
package limit

import "fmt"

// Config of the limits. Rates are a second; a burst is what may come at once.
type Config struct {
	// Connections of the whole gateway at once.
	Connections int `koanf:"connections"`
	// Each connection's.
	Subscriptions  int     `koanf:"subscriptions"`
	Requests       float64 `koanf:"requests"`
	RequestBurst   int     `koanf:"request_burst"`
	Subscribes     float64 `koanf:"subscribes"`
	SubscribeBurst int     `koanf:"subscribe_burst"`
	// Each address's; of IPv6 each /64, which is one customer's.
	AddressConnections   int     `koanf:"address_connections"`
	AddressConnects      float64 `koanf:"address_connects"`
	AddressConnectBurst  int     `koanf:"address_connect_burst"`
	AddressSubscriptions int     `koanf:"address_subscriptions"`
	AddressRequests      float64 `koanf:"address_requests"`
	AddressRequestBurst  int     `koanf:"address_request_burst"`
	// Each subject's, however many tokens and addresses it has.
	SubjectConnections   int     `koanf:"subject_connections"`
	SubjectSubscriptions int     `koanf:"subject_subscriptions"`
	SubjectRequests      float64 `koanf:"subject_requests"`
	SubjectRequestBurst  int     `koanf:"subject_request_burst"`
	// HistoryBytes a second that history and replays of connections may send to one address, and to one subject; 0: no bound.
	HistoryBytes int `koanf:"history_bytes"`
	// Strikes are the refusals after which a connection that goes on is closed; one is forgiven each second.
	Strikes int `koanf:"strikes"`
	// Remembered addresses and subjects that have no connection now; beyond it the longest quiet are forgotten.
	Remembered int `koanf:"remembered"`
}

// DefaultConfig suits a desk's dashboards and programs.
func DefaultConfig() Config {
	return Config{
		Connections: 10_000, Subscriptions: 100, Requests: 20, RequestBurst: 100, Subscribes: 10, SubscribeBurst: 100,
		AddressConnections: 200, AddressConnects: 20, AddressConnectBurst: 200, AddressSubscriptions: 5000, AddressRequests: 200, AddressRequestBurst: 1000,
		SubjectConnections: 200, SubjectSubscriptions: 5000, SubjectRequests: 200, SubjectRequestBurst: 1000,
		Strikes: 20, Remembered: 10_000,
	}
}

// Validate names the first key that is wrong.
func (c Config) Validate() error {
	for _, x := range []struct {
		key   string
		value float64
	}{
		{"connections", float64(c.Connections)}, {"subscriptions", float64(c.Subscriptions)}, {"requests", c.Requests},
		{"request_burst", float64(c.RequestBurst)}, {"subscribes", c.Subscribes}, {"subscribe_burst", float64(c.SubscribeBurst)},
		{"address_connections", float64(c.AddressConnections)}, {"address_connects", c.AddressConnects},
		{"address_connect_burst", float64(c.AddressConnectBurst)}, {"address_subscriptions", float64(c.AddressSubscriptions)},
		{"address_requests", c.AddressRequests}, {"address_request_burst", float64(c.AddressRequestBurst)},
		{"subject_connections", float64(c.SubjectConnections)}, {"subject_subscriptions", float64(c.SubjectSubscriptions)},
		{"subject_requests", c.SubjectRequests}, {"subject_request_burst", float64(c.SubjectRequestBurst)}, {"strikes", float64(c.Strikes)},
		{"remembered", float64(c.Remembered)},
	} {
		if !(x.value > 0 && x.value <= 1e9) {
			return fmt.Errorf("limits.%s: %v is not above 0 and up to 1000000000", x.key, x.value)
		}
	}
	if c.HistoryBytes != 0 && c.HistoryBytes < minHistoryBytes {
		return fmt.Errorf("limits.history_bytes: %d is neither 0 nor at least %d", c.HistoryBytes, minHistoryBytes)
	}
	return nil
}

// minHistoryBytes lets a page of history through in some seconds.
const minHistoryBytes = 64 << 10
