package tune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"every.channel/ec/lib/exit"
	"every.channel/ec/lib/hdhr"
	"every.channel/ec/lib/lease"
)

// channelSource receives a channel from a device that has it, and moves to the next such device when
// one is busy.
type channelSource struct {
	addr   Address
	log    *slog.Logger
	client hdhr.Client

	candidates []candidate
	next       int
}

// candidate is a device that has the channel.
type candidate struct {
	base    string
	channel hdhr.Channel
}

func (s *channelSource) live() bool { return true }

func (s *channelSource) open(ctx context.Context) (connection, error) {
	if len(s.candidates) == 0 {
		if err := s.find(ctx); err != nil {
			return connection{}, err
		}
	}
	var last error
	for range s.candidates {
		c := s.candidates[s.next%len(s.candidates)]
		conn, err := s.tune(ctx, c)
		if err == nil {
			return conn, nil
		}
		s.next++
		last = err
		if classify(err) != busy {
			// The device may have moved: look again next time.
			s.candidates = nil
			return connection{}, err
		}
	}
	return connection{}, last
}

func (s *channelSource) tune(ctx context.Context, c candidate) (connection, error) {
	st, held, err := s.lease(ctx, c)
	if err != nil {
		return connection{}, err
	}
	conn := connection{ReadCloser: leased{st, held}, service: service{
		name: c.channel.Name, channel: c.channel.Number, tuned: c.channel.Program > 0,
		program: c.channel.Program, tsid: c.channel.TSID, onid: c.channel.ONID,
	}}
	conn.signal = func(ctx context.Context) (hdhr.TunerInfo, bool) {
		tuners, err := s.client.Status(ctx, c.base)
		if err != nil {
			return hdhr.TunerInfo{}, false
		}
		i := slices.IndexFunc(tuners, func(t hdhr.TunerInfo) bool {
			return t.Resource == st.Resource || st.Resource == "" && t.Number == c.channel.Number
		})
		if i < 0 || tuners[i].Strength < 0 {
			return hdhr.TunerInfo{}, false
		}
		return tuners[i], true
	}
	s.log.Debug("tuned", "url", c.channel.URL, "tuner", st.Resource, "name", c.channel.Name)
	return conn, nil
}

// leased is a stream whose end gives back the lease of its tuner.
type leased struct {
	io.ReadCloser
	lease *lease.Lease
}

func (l leased) Close() error {
	err := l.ReadCloser.Close()
	l.lease.Release()
	return err
}

const anyTuner = "/auto/"

// lease opens the stream on a tuner that no program of this machine has. Others may have that one, which the device then says, and the next one
// is tried. Where there are no locks, or the device does not say what it has, the device chooses.
func (s *channelSource) lease(ctx context.Context, c candidate) (*hdhr.Stream, *lease.Lease, error) {
	open := func(url string) (*hdhr.Stream, error) { return s.client.Open(ctx, url) }
	info, err := s.client.Info(ctx, c.base)
	if err != nil || info.Tuners < 1 || info.Tuners > maxTuners || !strings.Contains(c.channel.URL, anyTuner) {
		st, err := open(c.channel.URL)
		return st, nil, err
	}
	var busyErr error
	inUse := make([]bool, info.Tuners)
	for range info.Tuners {
		held, err := lease.Take(lease.Dir(), lease.Device{ID: info.ID.String(), Base: c.base}, info.Tuners,
			func(n int) bool { return inUse[n] }, "ec-tune "+s.addr.String())
		if err != nil {
			if _, all := errors.AsType[*lease.HeldError](err); all {
				return nil, nil, cmp.Or(busyErr, err)
			}
			s.log.Debug("tuners are not shared with other programs of this machine", "err", err)
			st, err := open(c.channel.URL)
			return st, nil, err
		}
		st, err := open(strings.Replace(c.channel.URL, anyTuner, fmt.Sprintf("/tuner%d/", held.Tuner), 1))
		if refused, is := errors.AsType[*hdhr.StreamError](err); is && refused.Status == http.StatusNotFound { // it may know the channel and not this form
			st, err = open(c.channel.URL)
		}
		if err == nil {
			return st, held, nil
		}
		held.Release()
		if code, is := hdhr.AsCode(err); !is || code != hdhr.CodeTunerInUse {
			return nil, nil, err
		}
		inUse[held.Tuner], busyErr = true, err
	}
	return nil, nil, busyErr
}

// maxTuners is more than any device has.
const maxTuners = 16

// find fills in the candidates.
func (s *channelSource) find(ctx context.Context) error {
	bases, err := bases(ctx, s.addr.Device)
	if err != nil {
		return err
	}
	var errs []error
	var protected error
	for _, base := range bases {
		channels, _, err := s.client.Lineup(ctx, base)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ch, ok := pick(channels, s.addr.Channel, base)
		if !ok {
			continue
		}
		// Asking the device would cost a tuner, and an answer that may take seconds.
		if why, is := ch.Protected(); is {
			protected = &Error{Err: fmt.Errorf("channel %s (%s) is %s", ch.Number, ch.Name, why),
				Code: exit.NotAllowed, Advice: hintProtected, permanent: true}
			continue
		}
		s.candidates = append(s.candidates, candidate{base, ch})
	}
	switch {
	case len(s.candidates) > 0:
		return nil
	case protected != nil:
		return protected
	case len(errs) > 0:
		return &Error{Err: errors.Join(errs...), Code: exit.Unreachable, Advice: hintNoLineup}
	}
	advice := "ec-discover --lineup lists the channels"
	if len(bases) == 1 { // which may have been named, because a search does not find it
		advice = fmt.Sprintf("ec-discover --lineup %s lists the channels", bases[0])
	}
	return &Error{Err: fmt.Errorf("channel %s is in no lineup of %d device(s)", s.addr.Channel, len(bases)), Code: exit.Unreachable, Advice: advice, permanent: true}
}

// pick finds a channel in a lineup by its number, or by its name, whatever the case of the letters; the first one of that name counts. A frequency
// needs no entry, but takes what one says of it.
func pick(channels []hdhr.Channel, want, base string) (hdhr.Channel, bool) {
	if !frequencyForm.MatchString(want) {
		i := slices.IndexFunc(channels, func(c hdhr.Channel) bool { return c.Number == want })
		if i < 0 {
			i = slices.IndexFunc(channels, func(c hdhr.Channel) bool { return strings.EqualFold(c.Name, want) })
		}
		if i < 0 {
			return hdhr.Channel{}, false
		}
		c := channels[i]
		if c.URL == "" {
			c.URL = streamURL(base, channels, "/auto/v"+c.Number)
		}
		return c, true
	}
	hz, program, _ := strings.Cut(strings.TrimPrefix(want, "ch"), "-")
	for _, c := range channels {
		if program != "" && strconv.FormatInt(c.Frequency, 10) == hz && strconv.Itoa(c.Program) == program {
			c.URL = streamURL(base, channels, "/auto/"+want)
			return c, true
		}
	}
	return hdhr.Channel{Number: want, URL: streamURL(base, channels, "/auto/"+want), TSID: -1, ONID: -1}, true
}

// streamURL is a path on the stream server, whose port the lineup's other URLs tell.
func streamURL(base string, channels []hdhr.Channel, path string) string {
	for _, c := range channels {
		if u, err := url.Parse(c.URL); err == nil && u.Host != "" {
			return u.Scheme + "://" + u.Host + path
		}
	}
	u, err := url.Parse(base)
	if err != nil {
		return base + path
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("http://%s:%d%s", host, hdhr.StreamPort, path)
}

const hintNoDevice = "ec-discover lists devices; broadcasts do not leave a VLAN, a container or a virtual machine: name the device's address, ADDRESS/CHANNEL or --device ADDRESS"

const hintNoLineup = "is the device switched on, and does a firewall let UDP port 65001 and TCP ports 80 and 5004 through? a device on another port is hdhr://HOST:PORT/CHANNEL"

// Bases finds the URLs of the HTTP servers of devices: of the one that device names, as Config.Device does, or of all that answer.
func Bases(ctx context.Context, device string) ([]string, error) {
	if device != "" {
		var err error
		if device, err = parseDevice(device); err != nil {
			return nil, err
		}
	}
	return bases(ctx, device)
}

func bases(ctx context.Context, name string) ([]string, error) {
	var cfg hdhr.DiscoverConfig
	switch {
	case name == "":
	case idForm.MatchString(name):
		id, err := hdhr.ParseDeviceID(name)
		if err != nil {
			return nil, usageError("%w", err)
		}
		cfg.ID = id
	default:
		target, err := hdhr.ResolveTarget(ctx, name, true, true)
		if err != nil {
			return nil, err
		}
		if target.Port() != 0 {
			return []string{"http://" + target.String()}, nil // the port of the HTTP server was given
		}
		cfg.Targets = []netip.AddrPort{target}
	}
	found, err := hdhr.Discover(ctx, cfg)
	if err != nil {
		return nil, &Error{Err: err, Code: exit.Unreachable, Advice: hintNoDevice}
	}
	var bases []string
	for _, f := range found {
		if f.BaseURL != "" {
			bases = append(bases, f.BaseURL)
		}
	}
	switch {
	case len(bases) > 0:
		return bases, nil
	case len(cfg.Targets) > 0:
		// Discovery may be blocked where HTTP is not.
		host := cfg.Targets[0].Addr().String()
		if cfg.Targets[0].Addr().Is6() {
			host = "[" + strings.ReplaceAll(host, "%", "%25") + "]"
		}
		return []string{"http://" + host}, nil
	case name != "":
		return nil, &Error{Err: fmt.Errorf("device %s does not answer", name), Code: exit.Unreachable, Advice: hintNoDevice}
	}
	return nil, &Error{Err: errors.New("no device found"), Code: exit.Unreachable, Advice: hintNoDevice}
}

// Try opens a channel of a device and closes it: the error is what the device says against it.
func Try(ctx context.Context, device, channel string) error {
	name, err := parseDevice(device)
	if err != nil {
		return err
	}
	s := &channelSource{addr: Address{Kind: Channel, Device: name, Channel: channel, text: channel}, log: slog.New(slog.DiscardHandler)}
	c, err := s.open(ctx)
	if err != nil {
		return err
	}
	return c.Close()
}
