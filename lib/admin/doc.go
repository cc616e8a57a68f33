// Package admin is the door for a relay's operator: a Unix socket that only the relay's user may open, with commands by name.
//
// In flow HTTP requests, POST /NAME with a JSON object, out flows one JSON record each. docs/format/admin.md has both.
package admin
