package home

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"every.channel/ec/lib/hdhr"
	"every.channel/ec/lib/tune"
)

// Device is a device of tuners as a survey found it.
type Device struct {
	Base     string // URL of its HTTP server
	ID       string
	Tuners   int // 0: it does not say
	Channels []hdhr.Channel
	Gone     bool // it was there at an earlier survey, and did not answer the last one
}

// survey asks devices what they have: those that names say, or all that answer. Devices come in the order of names; an error tells of those
// that did not answer.
func survey(ctx context.Context, names []string) ([]Device, error) {
	if len(names) == 0 {
		names = []string{""}
	}
	var client hdhr.Client
	var errs []error
	var found []Device
	for _, name := range names {
		bases, err := tune.Bases(ctx, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all := make([]Device, len(bases))
		why := make([]error, len(bases))
		var asking sync.WaitGroup
		for i, base := range bases {
			asking.Go(func() {
				info, err := client.Info(ctx, base)
				if err != nil {
					why[i] = err
					return
				}
				all[i] = Device{Base: base, ID: info.ID.String(), Tuners: info.Tuners}
				all[i].Channels, _, why[i] = client.Lineup(ctx, base)
			})
		}
		asking.Wait()
		for i, d := range all {
			if why[i] != nil {
				errs = append(errs, why[i])
			} else if !slices.ContainsFunc(found, func(f Device) bool { return f.Base == d.Base }) {
				found = append(found, d)
			}
		}
	}
	return found, errors.Join(errs...)
}

// remember adds to what was found the devices that were there before, as gone.
func remember(found, before []Device) []Device {
	for _, d := range before {
		same := func(f Device) bool { return f.Base == d.Base || f.ID == d.ID && f.ID != "" }
		if !slices.ContainsFunc(found, same) {
			d.Gone = true
			found = append(found, d)
		}
	}
	return found
}

// givesWhole asks a device for a whole multiplex, and reports whether it knows that form of a channel. For that it needs a free tuner
// for a moment.
func givesWhole(ctx context.Context, base string, frequency int64) bool {
	err := tune.Try(ctx, base, fmt.Sprintf("ch%d", frequency))
	refused, is := errors.AsType[*hdhr.StreamError](err)
	return !is || refused.Status != http.StatusNotFound
}
