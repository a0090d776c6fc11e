// Package run is what every program needs around its work: configuration, logging, health and metrics, an orderly life and an orderly end.
package run
