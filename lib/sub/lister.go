package sub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"every.channel/ec/lib/client"
	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/moqt"
	"every.channel/ec/lib/moqt/wire"
)

const (
	// requestPatience bounds each question of a listing, listPatience all of them on a session.
	requestPatience = 5 * time.Second
	listPatience    = 30 * time.Second
)

// lister asks a relay what it has, and notes what it could not get.
type lister struct {
	sess *client.Session
	log  *slog.Logger
	lost []string
}

// ask puts a question, for as long as one may take. An error ends the listing: the session, or the listing's own context, is over.
// Otherwise what was asked for is noted, if it could not be had. A refusal that says that nothing is there is an answer.
func (l *lister) ask(ctx context.Context, what string, question func(ctx context.Context) error) error {
	rctx, cancel := context.WithTimeout(ctx, requestPatience)
	err := question(rctx)
	cancel()
	lost, isLost := errors.AsType[*lostCatalog](err)
	switch {
	case err == nil:
		return nil
	case l.sess.Context().Err() != nil:
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case isLost:
		what = fmt.Sprintf("group %d of %v", lost.group, lost.track)
	case isNothing(err):
		return nil
	}
	l.note(what, err)
	return nil
}

// note notes what could not be had.
func (l *lister) note(what string, err error) {
	if l.log != nil {
		l.log.Warn("the list lacks what the relay did not give", "what", what, "err", err)
	}
	l.lost = append(l.lost, what)
}

// isNothing reports whether an error is a refusal that says that nothing is there, or cannot be told.
func isNothing(err error) bool {
	r, ok := errors.AsType[*moqt.RequestError](err)
	return ok && (r.Code == wire.RequestDoesNotExist || r.Code == wire.RequestUninterested || r.Code == wire.RequestNotSupported ||
		r.Code == wire.RequestInvalidRange)
}

// ErrList says that a list lacks something.
var ErrList error = listError{}

type listError struct{}

func (listError) Error() string { return "the list is not complete" }
func (listError) ExitCode() int { return exit.BadData }
func (listError) Hint() string  { return "--allow-gaps takes what there is" }
