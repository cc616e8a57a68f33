package sub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/object"
)

// Change is a namespace that came or went, a line of ec-sub --list --follow --json.
type Change struct {
	V         int       `json:"v"`
	Time      time.Time `json:"time"`
	Change    string    `json:"change"` // come or gone
	Namespace string    `json:"namespace"`
}

// Follow writes the namespaces that the first relay has below a prefix, and then those that come and go, until ctx ends. While
// the relay is lost, no namespace goes; those that went meanwhile are told when the relay is back.
func Follow(ctx context.Context, c Config, prefix object.Namespace, asJSON bool, w io.Writer) error {
	told := map[string]bool{}
	tell := func(ns string, come bool) error {
		if told[ns] == come {
			return nil
		}
		change := Change{listVersion, time.Now().UTC().Truncate(time.Millisecond), "gone", ns}
		if come {
			change.Change, told[ns] = "come", true
		} else {
			delete(told, ns)
		}
		if asJSON {
			return json.NewEncoder(w).Encode(change)
		}
		_, err := fmt.Fprintf(w, "%s  %-4s  %s\n", change.Time.Local().Format(time.TimeOnly), change.Change, ns)
		return err
	}
	return client.Run(ctx, client.Config{
		Relay: c.Relays[0], Iroh: c.Iroh, Token: c.Token, TLS: c.TLS, Session: moqt.Config{Logger: c.Log, Versions: c.Versions, QLogDir: c.QLogDir, NoRepair: c.NoRepair}, Dial: c.Dial,
		RetryStart: c.RetryStart, RetryLost: c.RetryLost, Log: c.Log,
	}, func(ctx context.Context, sess *client.Session) error {
		s, err := sess.SubscribeNamespace(ctx, prefix, moqt.SubscribeNamespaceOptions{})
		if err != nil {
			return err
		}
		defer func() { s.Close() }()
		missing := maps.Clone(told) // namespaces that were told before a loss and have not been told again
		for {
			next, cancel := ctx, context.CancelFunc(func() {})
			if len(missing) > 0 {
				next, cancel = context.WithTimeout(ctx, quiet)
			}
			e, err := s.Next(next)
			cancel()
			if _, away := errors.AsType[*moqt.GoAwayError](err); away { // goes to the relay that has the list from now on
				to, err := sess.Move(ctx, s)
				if err != nil {
					return err
				}
				s.Close()
				again, err := to.SubscribeNamespace(ctx, prefix, moqt.SubscribeNamespaceOptions{})
				if err != nil {
					return err
				}
				s = again
				missing = maps.Clone(told)
				continue
			}
			switch {
			case err != nil && ctx.Err() != nil:
				return context.Cause(ctx)
			case errors.Is(err, context.DeadlineExceeded):
				for _, ns := range slices.Sorted(maps.Keys(missing)) {
					if err := tell(ns, false); err != nil {
						return err
					}
				}
				clear(missing)
				continue
			case err != nil:
				return fmt.Errorf("the relay ended its list: %w: %w", err, client.ErrAgain)
			}
			ns := e.Namespace.String()
			delete(missing, ns)
			if err := tell(ns, !e.Done); err != nil {
				return err
			}
		}
	})
}
