package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"every.channel/ec/lib/cmdutil/cmdtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ec-relay": main, "get": get, "part": part})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// TestChains puts relays behind relays.
func TestChains(t *testing.T) {
	cmdtest.Run(t, "testdata/chains", "ec-sim", "ec-chop", "ec-pub", "ec-relay", "ec-sub", "ec-dump")
}
