// Package schemas holds what machines read about the live feed and the HTTP endpoints beside it.
package schemas

import _ "embed"

// OpenAPI describes the HTTP endpoints.
//
//go:embed openapi.yaml
var OpenAPI []byte

// AsyncAPI describes the websocket.
//
//go:embed asyncapi.yaml
var AsyncAPI []byte
