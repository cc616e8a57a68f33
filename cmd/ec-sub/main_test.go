package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"every.channel/ec/lib/cmdutil/cmdtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ec-sub": main})
}

func TestScripts(t *testing.T) {
	cmdtest.Run(t, "testdata", "ec-sim", "ec-chop", "ec-pub", "ec-relay", "ec-dump", "ec-tune")
}
