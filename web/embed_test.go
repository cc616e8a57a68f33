package web

import (
	"io/fs"
	"strings"
	"testing"
)

// TestFiles: there is a page whether or not npm ran, and nothing in the page needs a looser policy than default-src 'self'.
func TestFiles(t *testing.T) {
	b, err := fs.ReadFile(Files(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	if !Built() && !strings.Contains(page, "npm ci") {
		t.Error("the page without dist does not say how to build it")
	}
	for _, inline := range []string{"<style", " style=", " onclick=", "<script>", "http://", "https://", "//cdn"} {
		if strings.Contains(page, inline) {
			t.Errorf("index.html contains %q", inline)
		}
	}
}
