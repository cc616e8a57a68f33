// Package keys holds what a relay proves itself with: an Ed25519 key (RFC 8032) that stays as long as the store, and
// certificates (RFC 5280), made of the key or vouched for by the key, that come and go.
//
// In flow a folder and a clock; out flow the certificate for each client that says hello, the pin by which programs know the
// relay, and the hashes by which browsers do. docs/format/keys.md has the files and the rule of pins.
package keys
