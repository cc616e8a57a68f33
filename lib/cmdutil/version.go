package cmdutil

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by packagers: go build -ldflags "-X every.channel/ec/lib/cmdutil.version=v1.2.3"
var version string

// Version is what the linker was told, else the module's version, else the commit, else "devel": a build
// from a source archive or with -buildvcs=false knows no more.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision == "" {
		return "devel"
	}
	return "devel-" + revision + dirty
}

// VersionLong adds what built it and for what.
func VersionLong() string {
	return fmt.Sprintf("%s (%s %s/%s)", Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
