// Package web holds the page that lists and plays broadcasts, as files for a server. Its source is TypeScript; `npm ci && npm run build`
// in this folder makes dist, which the next `go build` takes in. Without dist the page says how to make it. See docs/web.md.
package web

import (
	"embed"
	"io/fs"
)

// A pattern has to match something, and dist need not be there: dist-none always is.
//
//go:embed dist*
var files embed.FS

// Built tells whether the page was built before this program was.
func Built() bool {
	_, err := fs.Stat(files, "dist/index.html")
	return err == nil
}

// Files has index.html, and what that asks for, at its root.
func Files() fs.FS {
	folder := "dist-none"
	if Built() {
		folder = "dist"
	}
	sub, err := fs.Sub(files, folder)
	if err != nil { // only of an invalid name
		return files
	}
	return sub
}
