// Package chembed is an embedded ClickHouse: the real engine, from libchdb, behind
// ClickHouse's own native (TCP) and HTTP protocols, for any ClickHouse client.
//
// The engine runs in a supervised child process of the same executable, so that
// its crash is not the program's: main must call RunChildIfRequested before
// anything else. See README.md for the design.
package chembed
