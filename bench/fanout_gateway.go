package main

// Symbols of the trades channel.
const (
	gatewayCommon = "CORZ"
	gatewayFlood  = "FLOOD"
)
