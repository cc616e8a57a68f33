// Package interop tests the relay, the sessions and the tools with programs of others. It looks from outside: what it knows of ours is
// what any program that imports it knows. docs/interop/README.md says which programs there are and what came of it.
//
// What a test needs is named when it is skipped. Tests that run with several drafts and transports have subtests by draft and by the
// scheme of the URL: -run 'TestMoqCli/moqt-18/ws'.
package interop
