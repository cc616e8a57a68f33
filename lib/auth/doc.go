// Package auth says who may do what at a relay: it reads and checks tokens, and knows which of them are taken back.
//
// The bytes of a token flow in, with keys that are trusted; a Grant flows out, which allows actions (draft-ietf-moq-c4m) below
// namespaces until a time, or an error that says why the token is worth nothing. Tokens are JSON Web Tokens (RFC 7519) and Common Access
// Tokens for MOQT (CWT, RFC 8392, in COSE_Sign1, RFC 9052), signed with Ed25519 or with ECDSA over P-256. docs/format/token.md has the
// formats. The package knows no sessions.
package auth
