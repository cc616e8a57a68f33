package chop

import (
	"fmt"
	"io"
	"strings"

	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/object"
)

// TSWriter is a Sink that writes the canonical transport stream and leaves out everything that describes it.
type TSWriter struct {
	w     io.Writer
	scope string
}

// NewTSWriter returns a TSWriter of the chunks of a scope: "broadcast", "source" or "all".
func NewTSWriter(w io.Writer, scope string) (*TSWriter, error) {
	switch scope {
	case "all", string(catalog.ScopeBroadcast), string(catalog.ScopeSource):
		return &TSWriter{w, scope}, nil
	}
	return nil, fmt.Errorf("scope %q: want broadcast, source or all", scope)
}

// WriteObject writes the payload of a part.
func (w *TSWriter) WriteObject(t object.TrackName, o *object.Object) error {
	if !strings.HasPrefix(t.Name, catalog.TrackTS) || o.Status != object.Normal {
		return nil
	}
	scope := catalog.ScopeBroadcast
	if t.Namespace[1] == "source" {
		scope = catalog.ScopeSource
	}
	if w.scope != "all" && w.scope != string(scope) {
		return nil
	}
	_, err := w.w.Write(o.Payload)
	return err
}
