package hdhr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// AnyPort in a Config asks for a free port instead of the protocol's own.
const AnyPort = -1

// Config describes a Device. Zero values work except for Backend.
type Config struct {
	ID       DeviceID // default 10500009; a wrong checksum is refused
	Name     string   // FriendlyName; default "every.channel"
	Model    string   // ModelNumber; default "HDHR5-2US"
	HWModel  string   // of /sys/hwmodel; default Model
	Firmware string   // FirmwareVersion and /sys/version; default "20250506"
	// FirmwareName is also the model name of the control protocol, /sys/model, whose part after the
	// first "_" tells clients the broadcast system; default "hdhomerun5_atsc".
	FirmwareName string
	// ChannelMap names the channel numbers, "us-bcast" or "eu-bcast"; default "us-bcast".
	ChannelMap string
	Tuners     int // default 2, 1…16

	// Addr is the address to serve on. The zero value means every address, IPv4 and IPv6: only then
	// does the device hear broadcasts and multicasts. On loopback it is found by address.
	Addr netip.Addr
	// Ports: 0 is the protocol's own (65001 for both of the first two), AnyPort any free one. The HTTP
	// and the stream port may be one.
	DiscoverPort, ControlPort, HTTPPort, StreamPort int

	Backend Backend
	Log     *slog.Logger // default: discards
}

// Device is the device side: it answers discovery, control and HTTP and hands out tuners.
type Device struct {
	cfg Config
	log *slog.Logger

	udp     []net.PacketConn
	control []net.Listener
	api     []net.Listener
	streams []net.Listener // empty when the API listeners serve streams too

	mu     sync.Mutex // guards every tuner's state, and ending
	tuners []*tuner
	ending bool // no stream may start any more

	sessions sync.WaitGroup // streams; added to under mu unless ending
}

// NewDevice returns a device that listens to nothing yet.
func NewDevice(cfg Config) (*Device, error) {
	if cfg.Backend == nil {
		return nil, errors.New("hdhr device: no backend")
	}
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	if cfg.ID == 0 {
		cfg.ID = 0x10500009
	}
	if !cfg.ID.Valid() {
		return nil, fmt.Errorf("hdhr device %s: %w: checksum mismatch, %s would do", cfg.ID, ErrDeviceID, cfg.ID.WithChecksum())
	}
	def(&cfg.Name, "every.channel")
	def(&cfg.Model, "HDHR5-2US")
	def(&cfg.HWModel, cfg.Model)
	def(&cfg.Firmware, "20250506")
	def(&cfg.FirmwareName, "hdhomerun5_atsc")
	def(&cfg.ChannelMap, "us-bcast")
	if cfg.Tuners == 0 {
		cfg.Tuners = 2
	}
	if cfg.Tuners < 1 || cfg.Tuners > 16 {
		return nil, fmt.Errorf("hdhr device: %d tuners: want 1 to 16", cfg.Tuners)
	}
	port := func(p *int, v int) {
		switch *p {
		case 0:
			*p = v
		case AnyPort:
			*p = 0
		}
	}
	sharedAny := cfg.HTTPPort == AnyPort && cfg.StreamPort == AnyPort
	port(&cfg.DiscoverPort, DiscoverPort)
	port(&cfg.ControlPort, ControlPort)
	port(&cfg.HTTPPort, HTTPPort)
	port(&cfg.StreamPort, StreamPort)
	if sharedAny {
		cfg.StreamPort = cfg.HTTPPort
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Device{cfg: cfg, log: cfg.Log}
	for i := range cfg.Tuners {
		d.tuners = append(d.tuners, newTuner(i))
	}
	return d, nil
}

// Listen opens every socket, so that the ports are known and the device can be found as soon as it
// returns. Run calls it if nobody has.
func (d *Device) Listen(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if d.udp, err = listenDiscover(ctx, d.cfg.Addr, d.cfg.DiscoverPort, d.log); err != nil {
		return fmt.Errorf("hdhr device %s: discovery: %w", d.cfg.ID, err)
	}
	if d.control, err = listenTCP(ctx, d.cfg.Addr, d.cfg.ControlPort); err != nil {
		return fmt.Errorf("hdhr device %s: control: %w", d.cfg.ID, err)
	}
	if d.api, err = listenTCP(ctx, d.cfg.Addr, d.cfg.HTTPPort); err != nil {
		return fmt.Errorf("hdhr device %s: http: %w", d.cfg.ID, err)
	}
	if d.cfg.StreamPort == d.cfg.HTTPPort {
		return nil
	}
	if d.streams, err = listenTCP(ctx, d.cfg.Addr, d.cfg.StreamPort); err != nil {
		return fmt.Errorf("hdhr device %s: streams: %w", d.cfg.ID, err)
	}
	return nil
}

// listenTCP listens on addr, or on every address when it is zero.
func listenTCP(ctx context.Context, addr netip.Addr, port int) ([]net.Listener, error) {
	host := ""
	if addr.IsValid() {
		host = addr.String()
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// Close closes the sockets of a device that does not run.
func (d *Device) Close() error {
	var errs []error
	for _, c := range d.udp {
		errs = append(errs, c.Close())
	}
	for _, ls := range [][]net.Listener{d.control, d.api, d.streams} {
		for _, l := range ls {
			errs = append(errs, l.Close())
		}
	}
	d.udp, d.control, d.api, d.streams = nil, nil, nil, nil
	return errors.Join(errs...)
}

// Run serves until ctx ends, then releases every tuner and returns nil.
func (d *Device) Run(ctx context.Context) error {
	if d.api == nil {
		if err := d.Listen(ctx); err != nil {
			return err
		}
	}
	defer d.Close()
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range d.udp {
		g.Go(func() error { return d.serveDiscover(ctx, c) })
	}
	for _, l := range d.control {
		g.Go(func() error { return d.serveControl(ctx, l) })
	}
	api := http.NewServeMux()
	d.apiRoutes(api)
	streams := api
	if len(d.streams) > 0 {
		streams = http.NewServeMux()
	}
	d.streamRoutes(streams)
	for _, l := range d.api {
		g.Go(func() error { return serveHTTP(ctx, l, api) })
	}
	for _, l := range d.streams {
		g.Go(func() error { return serveHTTP(ctx, l, streams) })
	}
	err := g.Wait()
	d.releaseAll()
	d.sessions.Wait()
	return err
}

// serveHTTP serves until ctx ends. It does not wait for streams, which end with their requests' contexts.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("http: %w", err)
	}
	return nil
}

// ID returns the device's id.
func (d *Device) ID() DeviceID { return d.cfg.ID }

// BaseURL returns the URL of the HTTP API at an address of the device. It is valid after Listen.
func (d *Device) BaseURL(at netip.Addr) string {
	return "http://" + hostPort(at, listenPort(d.api), HTTPPort)
}

// StreamURL returns the URL of a path such as "/auto/v5.1" on the stream port.
func (d *Device) StreamURL(at netip.Addr, path string) string {
	ls := d.streams
	if len(ls) == 0 {
		ls = d.api
	}
	return "http://" + hostPort(at, listenPort(ls), HTTPPort) + path
}

// DiscoverAddr returns the address that answers discovery at an address of the device.
func (d *Device) DiscoverAddr(at netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(at, uint16(d.udp[0].LocalAddr().(*net.UDPAddr).Port))
}

// ControlAddr returns the address of the control server at an address of the device.
func (d *Device) ControlAddr(at netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(at, uint16(listenPort(d.control)))
}

func listenPort(ls []net.Listener) int {
	if len(ls) == 0 {
		return 0
	}
	return ls[0].Addr().(*net.TCPAddr).Port
}

// hostPort writes an address for a URL, the port left out when it is the scheme's own.
func hostPort(a netip.Addr, port, implied int) string {
	host := a.Unmap().WithZone("").String()
	if port != implied {
		return net.JoinHostPort(host, strconv.Itoa(port))
	}
	if a.Is6() && !a.Is4In6() {
		return "[" + host + "]"
	}
	return host
}
