package client

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"every.channel/ec/lib/ticket"
)

// What is in a file need not be on the command line, where all see it; nor is it in an error.
func TestFromFile(t *testing.T) {
	tk := (&ticket.Ticket{Addresses: []string{"moqt://relay:4443"}, Secret: ticket.NewSecret()}).String()
	path := filepath.Join(t.TempDir(), "ticket")
	for content, want := range map[string]string{
		tk + "\n": tk, "\n  " + tk + " \r\nsecond line\n": tk, "moqt://relay:4443": "moqt://relay:4443",
		"": "", "half" + tk[:30]: "", tk[:len(tk)-1] + "\n": "", strings.Repeat("x", maxAddressFile) + "\n" + tk: "",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := FromFile("@" + path)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: %q, %v", content, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), path) || strings.Contains(err.Error(), tk[4:24])) {
			t.Errorf("%.20q: %v", content, err)
		}
	}
	if _, err := FromFile("@" + path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	os.WriteFile(path, []byte(tk), 0o600)
	list, err := FromFiles([]string{"unix:///@socket", "@" + path})
	if err != nil || !slices.Equal(list, []string{"unix:///@socket", tk}) {
		t.Errorf("%v, %v", list, err)
	}
}
