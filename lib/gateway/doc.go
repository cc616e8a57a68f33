// Package gateway shows a relay to what speaks HTTP: the page and what the page asks first, MoQ over WebSocket, broadcasts as
// transport streams, and whether the relay is well.
//
// In flow requests; out flow the files of the page, relay.json (docs/format/gateway.md) and the payloads of a broadcast's objects one
// after another. What the payloads mean is not known here. The relay is reached through the functions in Config.
package gateway
