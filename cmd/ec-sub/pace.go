package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"every.channel/ec/lib/cmdutil"
	"every.channel/ec/lib/object"
	"every.channel/ec/lib/pace"
	"every.channel/ec/lib/sub"
)

// leastRate is the lowest rate of a multiplex: in 40 ms there must be room for a PCR and some packets.
const leastRate = 200_000

// output opens what -o names, with --pace behind a pacer.
func output(c *cli.Context, conf *sub.Config) (io.WriteCloser, error) {
	address, rate := c.String("output"), cmdutil.RateOf(c, "mux-rate")
	switch {
	case c.Bool("pace"):
	case pace.IsAddress(address):
		return nil, cmdutil.UsageError(cmdutil.Hint(fmt.Errorf("-o %s without --pace", address), "datagrams need --pace, which sends them in time"))
	case rate > 0 || c.Bool("si") || c.IsSet("pace-delay"):
		return nil, cmdutil.UsageError(errors.New("--mux-rate, --si and --pace-delay go with --pace"))
	default:
		return cmdutil.Output(c)
	}
	if rate > 0 && rate < leastRate {
		return nil, cmdutil.UsageError(fmt.Errorf("--mux-rate %d is below %d bit/s", rate, leastRate))
	}
	if c.Duration("pace-delay") <= 0 {
		return nil, cmdutil.UsageError(fmt.Errorf("--pace-delay %v is no time", c.Duration("pace-delay")))
	}
	open := cmdutil.Output
	if pace.IsAddress(address) {
		open = func(*cli.Context) (io.WriteCloser, error) { return pace.Dial(address, conf.Log) }
	}
	w, err := open(c)
	if err != nil {
		return nil, err
	}
	conf.TS = true
	p := pace.Config{Rate: rate, Delay: c.Duration("pace-delay"), Buffer: conf.Buffer, Log: conf.Log}
	if c.Bool("si") {
		p.SI = withSI(c.Context, conf)
	}
	return paced(c, p, w), nil
}

// siAgain is how long after a failure the tables are asked for again.
const siAgain = 10 * time.Second

// siHint says where tables come from.
const siHint = "they are in the si track of the receiver's namespace ec-source-…, which ec-sub --list shows"

// withSI makes a carousel that is filled from the first object on, as long as ctx lasts, and anew when the broadcast goes on in another track.
func withSI(ctx context.Context, conf *sub.Config) *pace.Carousel {
	carousel := pace.NewCarousel()
	reader := *conf
	stop := func() {}
	conf.First = func(t object.TrackName, group uint64) {
		stop()
		var here context.Context
		here, stop = context.WithCancel(ctx)
		late := time.AfterFunc(siAgain, func() {
			if here.Err() == nil && carousel.Empty() {
				conf.Log.Warn("no tables of the broadcast have come yet", "hint", siHint)
			}
		})
		go func() {
			defer late.Stop()
			for here.Err() == nil {
				err := sub.SI(here, reader, t, group, carousel)
				if here.Err() != nil {
					return
				}
				conf.Log.Warn("no tables of the broadcast can be put back, trying again", "err", err)
				select {
				case <-here.Done():
				case <-time.After(siAgain):
				}
			}
		}()
	}
	return carousel
}

// pacer is a pipe to a pacer.
type pacer struct {
	in   *io.PipeWriter
	done chan error
	told bool // a write has told why the pacer ended
}

func paced(c *cli.Context, conf pace.Config, w io.WriteCloser) *pacer {
	r, in := io.Pipe()
	p := &pacer{in: in, done: make(chan error, 2)}
	go func() {
		s, err := pace.Run(c.Context, conf, r, w)
		r.CloseWithError(err)
		if conf.SI != nil && s.Packets > 0 && conf.SI.Empty() {
			conf.Log.Warn("no tables of the broadcast were put back: the relay has none of this time", "hint", siHint)
		}
		conf.Log.Info("paced", "packets", s.Packets, "null", s.Null, "pauses", s.Pauses, "anew", s.Anew, "late", s.Late)
		p.done <- err
		p.done <- w.Close()
	}()
	return p
}

func (p *pacer) Write(b []byte) (int, error) {
	n, err := p.in.Write(b)
	p.told = p.told || err != nil
	return n, err
}

// Close waits until everything was sent.
func (p *pacer) Close() error {
	p.in.Close()
	err := <-p.done
	if p.told {
		err = nil
	}
	return errors.Join(err, <-p.done)
}
