//go:build ignore

// Command bareticket reads a ticket from stdin and prints it without its addresses, so that only its id leads to the relay, and with the
// argument "stranger" without its secret too. For scripts/mesh.bash.
package main

import (
	"fmt"
	"io"
	"os"

	"every.channel/ec/lib/ticket"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err)
	}
	t, err := ticket.Parse(string(text))
	if err != nil {
		fail(err)
	}
	t.Addresses, t.IrohAddrs = nil, nil
	if len(os.Args) > 1 && os.Args[1] == "stranger" {
		t.Secret = nil
	}
	fmt.Println(t)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bareticket:", err)
	os.Exit(1)
}
