package chop

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/object"
)

// TSWriter is a Sink that writes the canonical transport stream and leaves out everything that describes it.
type TSWriter struct {
	// Log is told of each gap: a chunk that is left out, or one in which packets are missing. Default: nobody is.
	Log *slog.Logger

	w     io.Writer
	scope string
}

// NewTSWriter returns a TSWriter of the chunks of a scope: "broadcast", "source" or "all".
func NewTSWriter(w io.Writer, scope string) (*TSWriter, error) {
	switch scope {
	case "all", string(catalog.ScopeBroadcast), string(catalog.ScopeSource):
		return &TSWriter{w: w, scope: scope}, nil
	}
	return nil, fmt.Errorf("scope %q: want broadcast, source or all", scope)
}

// WriteObject writes the payload of a part.
func (w *TSWriter) WriteObject(t object.TrackName, o *object.Object) error {
	switch {
	case o.Status != object.Normal:
		return nil
	case t.Name == catalog.TrackManifest && w.Log != nil:
		return w.tell(o.Payload)
	case !strings.HasPrefix(t.Name, catalog.TrackTS):
		return nil
	}
	scope := catalog.ScopeBroadcast
	if t.Namespace[1] == "source" {
		scope = catalog.ScopeSource
	}
	if !w.takes(scope) {
		return nil
	}
	_, err := w.w.Write(o.Payload)
	return err
}

func (w *TSWriter) takes(s catalog.Scope) bool { return w.scope == "all" || w.scope == string(s) }

// tell logs what a manifest's entry says is missing.
func (w *TSWriter) tell(entry []byte) error {
	e, err := catalog.ParseManifestEntry(entry)
	if err != nil {
		return err
	}
	l := w.Log.With("pts", e.PTS)
	if e.UTC != nil {
		l = l.With("utc", e.UTC)
	}
	switch {
	case !w.takes(e.Scope):
		l.Warn("gap: a chunk is left out", "scope", e.Scope, "reason", e.Reason)
	case e.Damage != nil:
		l.Warn("gap: packets of a chunk are missing", "damage", e.Damage)
	}
	return nil
}
