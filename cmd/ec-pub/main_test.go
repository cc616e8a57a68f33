package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"every.channel/ec/lib/cmdutil/cmdtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ec-pub": main})
}

func TestScripts(t *testing.T) {
	cmdtest.Run(t, "testdata", "ec-sim", "ec-chop", "ec-pub", "ec-sub", "ec-relay") // ec-pub, too: the relay lets the tools beside it publish
}
