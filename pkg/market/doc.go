// Package market is the domain of hashpivot: what a venue, the bitcoin network or a GPU marketplace said, as typed events.
//
// Laws of the package:
//   - A price, a size or an amount is a Decimal and is parsed from the wire's text; it never passes through a float64.
//   - Units are in names (PriceUSD, SizeShares, FeesSat) or in the field's comment.
//   - Times are UTC. EventTime is the venue's, RecvTime ours.
//   - An event is immutable once published.
//
// The package imports the standard library and the decimal type only.
package market
