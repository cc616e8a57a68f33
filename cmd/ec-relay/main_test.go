package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"every.channel/ec/lib/cmdutil/cmdtest"
	"every.channel/ec/lib/iroh"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ec-relay": main, "get": get, "part": part, "notified": notified})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// TestChains puts relays behind relays.
func TestChains(t *testing.T) {
	cmdtest.Run(t, "testdata/chains", "ec-sim", "ec-chop", "ec-pub", "ec-relay", "ec-sub", "ec-dump")
}

// TestIroh joins relays by iroh, where ec-iroh is.
func TestIroh(t *testing.T) {
	if _, err := iroh.Find(); err != nil {
		t.Skip(err)
	}
	cmdtest.Run(t, "testdata/iroh", "ec-sim", "ec-chop", "ec-pub", "ec-relay", "ec-sub", "ec-discover")
}
