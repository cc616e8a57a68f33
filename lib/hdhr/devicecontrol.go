package hdhr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// maxControlConns bounds the control connections that are served at once; more wait to be accepted.
const maxControlConns = 64

// serveControl serves control connections until ctx ends.
func (d *Device) serveControl(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	slots := make(chan struct{}, maxControlConns)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("control: %w", err)
		}
		conns.Go(func() {
			defer func() { <-slots }()
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			err := d.controlConn(ctx, c)
			d.log.Debug("control connection ends", "client", c.RemoteAddr(), "err", err)
		})
	}
}

// controlConn answers the requests of one connection until it closes or sends something malformed.
func (d *Device) controlConn(ctx context.Context, c net.Conn) error {
	peer := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	in := make([]byte, 0, 4*MaxPacket)
	for {
		p, n, err := ParsePacket(in)
		if errors.Is(err, ErrShort) {
			m, err := c.Read(in[len(in):cap(in)])
			if err != nil {
				return err
			}
			in = in[:len(in)+m]
			continue
		}
		if err != nil {
			return err
		}
		var reply []byte
		switch p.Type {
		case TypeGetSetRequest:
			reply = d.getSet(ctx, ParseGetSet(p.Payload), peer).Append(nil, TypeGetSetReply)
		case TypeUpgradeRequest:
			reply = GetSet{Error: "ERROR: this device has no firmware"}.Append(nil, TypeUpgradeReply)
		default:
			return fmt.Errorf("packet type %d on the control port", p.Type)
		}
		in = in[:copy(in, in[n:])]
		if _, err := c.Write(reply); err != nil {
			return err
		}
	}
}

// ControlError is what a device answers instead of a value, without the "ERROR: " in front.
type ControlError string

func (e ControlError) Error() string { return string(e) }

const (
	errUnknownVariable = ControlError("unknown getset variable")
	errReadOnly        = ControlError("variable is read only")
	errInvalidChannel  = ControlError("invalid channel")
	errInvalidVChannel = ControlError("invalid virtual channel")
	errInvalidProgram  = ControlError("invalid program number")
	errInvalidFilter   = ControlError("invalid pid filter")
	errInvalidTarget   = ControlError("invalid target")
	errInvalidMap      = ControlError("invalid channelmap")
	errInvalidKey      = ControlError("invalid lockkey")
)

func errLocked(by netip.Addr) error { return ControlError("resource locked by " + by.String()) }

const helpText = `Supported configuration options:
/sys/copyright
/sys/features
/sys/hwmodel
/sys/model
/sys/version
/tuner<n>/channel <modulation>:<freq|ch>
/tuner<n>/channelmap <channelmap>
/tuner<n>/debug
/tuner<n>/filter "0x<nnnn>-0x<nnnn> [...]"
/tuner<n>/lockkey
/tuner<n>/plpinfo
/tuner<n>/program <program number>
/tuner<n>/status
/tuner<n>/streaminfo
/tuner<n>/target <ip>:<port>
/tuner<n>/vchannel <vchannel>
/tuner<n>/vstatus
`

// getSet carries out one request. A set answers with the value that then holds.
func (d *Device) getSet(ctx context.Context, m GetSet, peer netip.Addr) GetSet {
	v, err := d.variable(ctx, m, peer)
	if err != nil {
		return GetSet{Name: m.Name, Error: "ERROR: " + err.Error()}
	}
	return GetSet{Name: m.Name, Value: &v}
}

func (d *Device) variable(ctx context.Context, m GetSet, peer netip.Addr) (string, error) {
	fixed := ""
	switch m.Name {
	case "help":
		fixed = helpText
	case "/sys/model":
		fixed = d.cfg.FirmwareName
	case "/sys/hwmodel":
		fixed = d.cfg.HWModel
	case "/sys/version":
		fixed = d.cfg.Firmware
	case "/sys/copyright":
		fixed = "every.channel"
	case "/sys/features":
		fixed = "channelmap: us-bcast eu-bcast\nmodulation: auto 8vsb qam256 qam64\nauto-modulation: auto auto6t\n"
	}
	if fixed != "" {
		if m.Value != nil {
			return "", errReadOnly
		}
		return fixed, nil
	}
	rest, ok := strings.CutPrefix(m.Name, "/tuner")
	digits, item, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(digits, 10, 8)
	if !ok || err != nil || int(n) >= len(d.tuners) {
		return "", errUnknownVariable
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.tuners[n]
	if m.Value != nil {
		if err := d.set(ctx, t, item, *m.Value, m.LockKey, peer); err != nil {
			return "", err
		}
	}
	return d.get(t, item)
}

// get reads one of a tuner's variables. Device.mu is held.
func (d *Device) get(t *tuner, item string) (string, error) {
	switch item {
	case "status":
		return d.tunerStatus(t).String(), nil
	case "vstatus":
		number, name := t.vchannel, "none"
		if number != "none" {
			name = strings.ReplaceAll(t.sel.Channel.Name, " ", "_")
		}
		return fmt.Sprintf("vch=%s name=%s auth=unspecified cci=none cgms=none", number, name), nil
	case "streaminfo":
		return d.streamInfo(t), nil
	case "channel":
		return t.channel, nil
	case "vchannel":
		return t.vchannel, nil
	case "channelmap":
		return d.channelMap(t), nil
	case "program":
		return strconv.Itoa(t.sel.Program), nil
	case "filter":
		if t.filter == "" {
			return "0x0000-0x1fff", nil
		}
		return t.filter, nil
	case "target":
		return t.target, nil
	case "lockkey":
		if a, held := t.holder(); held && a.IsValid() {
			return a.String(), nil
		}
		return "none", nil
	case "plpinfo":
		return "none", nil
	case "debug":
		st := d.tunerStatus(t)
		return fmt.Sprintf("tun: ch=%s lock=%s ss=%d snq=%d seq=%d dbg=0\ndev: bps=%d resync=0 overflow=0\n"+
			"ts:  bps=%d te=0 miss=0 crc=0\nnet: pps=%d err=0 stop=0\n",
			st.Channel, st.Lock, st.Strength, st.Quality, st.SymbolQuality, st.BitsPerSecond, st.BitsPerSecond, st.PacketsPerSecond), nil
	}
	return "", errUnknownVariable
}

func (d *Device) channelMap(t *tuner) string {
	if t.channelMap != "" {
		return t.channelMap
	}
	return d.cfg.ChannelMap
}

func (d *Device) tunerStatus(t *tuner) TunerStatus {
	st := TunerStatus{Channel: t.channel, Lock: "none"}
	if t.channel == "none" {
		return st
	}
	s := d.cfg.Backend.Signal(t.sel.Frequency)
	st.Strength, st.Quality, st.SymbolQuality = s.Strength, s.Quality, s.SymbolQuality
	if s.Lock != "" {
		st.Lock = s.Lock
	}
	st.BitsPerSecond, st.PacketsPerSecond = t.rate.bps.Load(), t.rate.pps.Load()
	return st
}

// streamInfo lists the programs of the multiplex that the tuner receives.
func (d *Device) streamInfo(t *tuner) string {
	if t.channel == "none" {
		return "none"
	}
	var b strings.Builder
	tsid, onid := -1, -1
	for _, c := range d.cfg.Backend.Lineup() {
		if c.Frequency != t.sel.Frequency || c.Frequency == 0 {
			continue
		}
		fmt.Fprintf(&b, "%d: %s %s", c.Program, c.Number, c.Name)
		if c.DRM {
			b.WriteString(" (encrypted)")
		}
		b.WriteByte('\n')
		tsid, onid = c.TSID, c.ONID
	}
	if tsid >= 0 {
		fmt.Fprintf(&b, "tsid=0x%04X\n", tsid)
	}
	if onid > 0 {
		fmt.Fprintf(&b, "onid=0x%04X\n", onid)
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

// set changes one of a tuner's variables. Device.mu is held.
func (d *Device) set(ctx context.Context, t *tuner, item, value string, key uint32, peer netip.Addr) error {
	if item == "lockkey" {
		return d.setLock(t, value, key, peer)
	}
	if t.client.IsValid() || t.lockKey != 0 && t.lockKey != key {
		a, _ := t.holder()
		return errLocked(a)
	}
	// Where something runs, it is started anew with what is set.
	running := t.target
	switch item {
	case "channel":
		sel := Selection{}
		if value != "none" {
			f, ok := parseChannel(value, d.channelMap(t))
			if !ok {
				return errInvalidChannel
			}
			sel = d.selection(f, 0)
		}
		d.stopTarget(t)
		t.channel, t.vchannel, t.sel, t.filter = value, "none", sel, ""
		t.pids.Store(nil)
	case "vchannel":
		if value == "none" {
			d.stopTarget(t)
			t.clear()
			return nil
		}
		c, ok := d.channelByNumber(value)
		if !ok {
			return errInvalidVChannel
		}
		d.stopTarget(t)
		t.channel, t.vchannel, t.filter = "auto:"+itoa(c.Frequency), value, ""
		t.sel = Selection{Frequency: c.Frequency, Program: c.Program, Channel: c}
		t.pids.Store(nil)
	case "program":
		if value == "none" {
			value = "0"
		}
		p, err := strconv.ParseUint(value, 0, 16)
		if err != nil {
			return errInvalidProgram
		}
		d.stopTarget(t)
		t.sel = d.selection(t.sel.Frequency, int(p))
	case "filter":
		pids, ok := parseFilter(value)
		if !ok {
			return errInvalidFilter
		}
		// A filter and a program exclude each other on a device: the one set last holds.
		t.filter = value
		t.pids.Store(pids)
		if t.sel.Program == 0 {
			return nil
		}
		d.stopTarget(t)
		t.sel.Program, t.sel.Channel = 0, Channel{}
	case "channelmap":
		if !slices.Contains([]string{"us-bcast", "eu-bcast"}, value) {
			return errInvalidMap
		}
		t.channelMap = value
		return nil
	case "target":
		d.stopTarget(t)
		running = value
	default:
		return errReadOnly
	}
	if running == "none" || t.channel == "none" && item != "target" {
		return nil
	}
	to, err := parseTarget(running)
	if err != nil {
		return errInvalidTarget
	}
	if t.channel != "none" {
		if t.sel.Channel.DRM {
			return ControlError(CodeContentProtection.text())
		}
		if err := d.startTarget(ctx, t, to); err != nil {
			return errInvalidTarget
		}
	}
	t.target = running
	return nil
}

// setLock takes, changes or gives up the lock of a tuner.
func (d *Device) setLock(t *tuner, value string, key uint32, peer netip.Addr) error {
	locked := t.lockKey != 0 && t.lockKey != key
	switch {
	case value == "force":
		t.lockKey, t.lockedBy = 0, netip.Addr{}
		return nil
	case t.client.IsValid(), locked:
		a, _ := t.holder()
		return errLocked(a)
	case value == "none":
		t.lockKey, t.lockedBy = 0, netip.Addr{}
		return nil
	}
	k, err := strconv.ParseUint(value, 10, 32)
	if err != nil || k == 0 {
		return errInvalidKey
	}
	t.lockKey, t.lockedBy = uint32(k), peer
	return nil
}

// parseChannel reads modulation:frequency, modulation:number and either alone, and returns Hz.
func parseChannel(s, channelMap string) (int64, bool) {
	if _, after, ok := strings.Cut(s, ":"); ok {
		s = after
	}
	s, _, _ = strings.Cut(s, ":") // ATSC 3.0 adds PLPs
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return 0, false
	}
	if n < 1000 {
		return channelFrequency(channelMap, n)
	}
	return n, true
}

// channelFrequency returns the centre frequency of a broadcast channel (hdhomerun_channels.c).
func channelFrequency(channelMap string, n int64) (int64, bool) {
	for _, r := range []struct {
		name          string
		first, last   int64
		hz, bandwidth int64
	}{
		{"us-bcast", 2, 4, 57_000_000, 6_000_000},
		{"us-bcast", 5, 6, 79_000_000, 6_000_000},
		{"us-bcast", 7, 13, 177_000_000, 6_000_000},
		{"us-bcast", 14, 69, 473_000_000, 6_000_000},
		{"eu-bcast", 5, 12, 177_500_000, 7_000_000},
		{"eu-bcast", 21, 69, 474_000_000, 8_000_000},
	} {
		if r.name == channelMap && r.first <= n && n <= r.last {
			return r.hz + (n-r.first)*r.bandwidth, true
		}
	}
	return 0, false
}

// parseFilter reads "0x0000-0x1fff 0x30"; "none" lets nothing through.
func parseFilter(s string) (*pidSet, bool) {
	var set pidSet
	if s == "none" {
		return &set, true
	}
	fields := strings.Fields(s)
	for _, f := range fields {
		lo, hi, isRange := strings.Cut(f, "-")
		if !isRange {
			hi = lo
		}
		a, err1 := strconv.ParseUint(lo, 0, 16)
		b, err2 := strconv.ParseUint(hi, 0, 16)
		if err1 != nil || err2 != nil || a > b || b > 0x1fff {
			return nil, false
		}
		for pid := a; pid <= b; pid++ {
			set.add(int(pid))
		}
	}
	return &set, len(fields) > 0
}
