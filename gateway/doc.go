// Package gateway is the WebSocket edge of Lethe. It decides who may connect,
// keeps pools of connections within their limits, and tells a Recorder of every
// opening, refusal, idle spell, close and message, never of a message's content.
//
// A Gateway serves a pool in one of two ways:
//
//   - Tap, where the pool has upstreams: the handshake goes to the upstream
//     first, whose status, headers, subprotocol and extensions come back as they
//     are; then bytes are pumped both ways while a strict walker reads the frame
//     headers (RFC 6455 §5). Nothing is reassembled, recompressed or re-closed.
//   - Handler, for servers written in Go: the message API of gws, wrapped so that
//     what is known to be wrong with gws v1.8.9 cannot reach the process.
//
// # What is forwarded and what is not
//
// A tap is transparent: the path, the query string, cookies, Authorization and
// the offered subprotocols reach the upstream unchanged, tokens included, because
// the upstream may check them itself; JWT.StripProtocol takes a token out of the
// offered subprotocols. Not forwarded are hop-by-hop headers, extension offers
// other than permessage-deflate, and, from peers that are not trusted proxies, the
// headers by which somebody is identified and forwarded addresses. Added are
// X-Forwarded-For, -Proto and -Host, and X-Lethe-Connection, a random id that is
// not the ledger's.
//
// None of query string, cookie, Authorization, subprotocol token or external id
// reaches a log line, a metric or an error; the external id reaches Recorder.Admit
// only, and a token nobody.
//
// # Limits
//
// Message sizes are those on the wire: a compressed message counts compressed.
// A message is recorded, and may wait for the ledger, when the header of its last
// frame was read and before that header is forwarded, so nothing whole crosses
// unrecorded; a message whose last frame a lost connection cut short is counted.
// While Recording.Message blocks, that direction is not read: TCP slows the
// sender, nothing is dropped and at most one read buffer is held.
package gateway
