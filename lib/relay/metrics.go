package relay

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"every.channel/ec/lib/catalog"
)

// maxTrackSeries bounds the tracks that metrics name, those with publishers or subscribers first; the others are counted as tracks alone.
const maxTrackSeries = 2000

// maxSourceSeries bounds the sources whose health metrics tell of.
const maxSourceSeries = 200

// number is a metric without labels (docs/format/metrics.md).
type number struct {
	name, help string
	kind       prometheus.ValueType
	read       func(*Status) float64
}

func gauge(name, help string, read func(*Status) float64) number {
	return number{name, help, prometheus.GaugeValue, read}
}

func counter(name, help string, read func(*Status) float64) number {
	return number{name, help, prometheus.CounterValue, read}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// numbers are the metrics that a relay always has.
var numbers = []number{
	gauge("ec_start_time_seconds", "When the relay started, in Unix time.", func(s *Status) float64 { return float64(s.Started.UnixMilli()) / 1000 }),
	gauge("ec_subscribers", "Subscriptions that are served.", func(s *Status) float64 { return float64(s.Counters.Subscribers) }),
	gauge("ec_limit_peers", "Peers, and blocks of them, of which something counts towards a limit.", func(s *Status) float64 { return float64(s.Limits.Peers) }),
	gauge("ec_live_tracks", "Tracks in memory.", func(s *Status) float64 { return float64(s.Counters.LiveTracks) }),
	counter("ec_received_objects_total", "New objects from publishers, upstreams and peers.", func(s *Status) float64 { return float64(s.Counters.Objects) }),
	counter("ec_received_bytes_total", "Payload of the new objects.", func(s *Status) float64 { return float64(s.Counters.Bytes) }),
	counter("ec_duplicate_objects_total", "Objects that another source had brought with the same hash.", func(s *Status) float64 { return float64(s.Counters.Duplicates) }),
	counter("ec_conflicting_objects_total", "Objects refused because they contradict what another source had brought.", func(s *Status) float64 { return float64(s.Counters.Conflicts) }),
	counter("ec_refused_objects_total", "Objects refused because they contradict their own hash.", func(s *Status) float64 { return float64(s.Counters.Refused) }),
	counter("ec_unstored_objects_total", "Objects served live although they could not be stored.", func(s *Status) float64 { return float64(s.Counters.NotStored) }),
	counter("ec_broken_streams_total", "Streams of publishers that ended without FIN.", func(s *Status) float64 { return float64(s.Counters.BrokenStreams) }),
	counter("ec_refused_sessions_total", "Sessions that were refused.", func(s *Status) float64 { return float64(s.Counters.RefusedSessions) }),
	counter("ec_sent_objects_total", "Objects sent to subscribers.", func(s *Status) float64 { return float64(s.Counters.SentObjects) }),
	counter("ec_sent_bytes_total", "Payload of the sent objects.", func(s *Status) float64 { return float64(s.Counters.SentBytes) }),
	counter("ec_sent_from_disk_objects_total", "Sent objects that were read from disk.", func(s *Status) float64 { return float64(s.Counters.SentFromDisk) }),
	counter("ec_fetches_total", "FETCH requests that were served.", func(s *Status) float64 { return float64(s.Counters.Fetches) }),
	counter("ec_backfilled_objects_total", "Objects fetched from publishers, upstreams and peers because they were missing.", func(s *Status) float64 { return float64(s.Counters.Backfilled) }),
	counter("ec_takeovers_total", "How often a standby was asked to send.", func(s *Status) float64 { return float64(s.Counters.Takeovers) }),
	counter("ec_apart_objects_total", "Objects refused because their groups do not fit the broadcast's clock or what other homes bring.", func(s *Status) float64 { return float64(s.Counters.Apart) }),
	counter("ec_quarantines_total", "How often a home was quarantined for a track.", func(s *Status) float64 { return float64(s.Counters.Quarantined) }),
	gauge("ec_store_bytes", "Bytes of the group files.", func(s *Status) float64 { return float64(s.Store.Bytes) }),
	gauge("ec_store_tracks", "Tracks that are stored.", func(s *Status) float64 { return float64(s.Store.Tracks) }),
	gauge("ec_store_groups", "Groups that are stored.", func(s *Status) float64 { return float64(s.Store.Groups) }),
	counter("ec_store_removed_groups_total", "Groups that retention removed.", func(s *Status) float64 { return float64(s.Store.Removed) }),
	counter("ec_store_full_objects_total", "Objects refused because the disk was full.", func(s *Status) float64 { return float64(s.Store.Full) }),
	gauge("ec_store_paused", "1 while objects cannot be stored.", func(s *Status) float64 { return truth(s.Store.Paused != nil) }),
	gauge("ec_store_left_out_files", "Files and folders of the store that the relay does without.", func(s *Status) float64 { return float64(s.Store.LeftOut) }),
}

// metrics tells Prometheus what a Status tells an operator.
type metrics struct {
	status func() Status

	numbers                                          []*prometheus.Desc
	info, sessions, resets, limited                  *prometheus.Desc
	fill                                             [2]*prometheus.Desc // missing, brought; by what
	scrub                                            [4]*prometheus.Desc // groups, bad, healed, waiting
	tier                                             [5]*prometheus.Desc // groups, bytes, waiting, moved, failing
	publishers, subscribers, age, conflicts, outcast *prometheus.Desc
	loss, rtt, latency                               *prometheus.Desc
	signal                                           [3]*prometheus.Desc // strength, quality, symbols
	health                                           []*prometheus.Desc  // as in healthNumbers
	errors, chunks                                   *prometheus.Desc
}

// healthNumber is a metric of a source's health.
type healthNumber struct {
	name, help string
	kind       prometheus.ValueType
	read       func(*catalog.Health) (v float64, ok bool)
}

// ofTuner reads what only an entry with a tuner has.
func ofTuner(read func(*catalog.Tuner) float64) func(*catalog.Health) (float64, bool) {
	return func(h *catalog.Health) (float64, bool) {
		if h.Tuner == nil {
			return 0, false
		}
		return read(h.Tuner), true
	}
}

var healthNumbers = []healthNumber{
	{"ec_source_silent_seconds", "For how long no chunk of a source ended, at the newest entry of its health.", prometheus.GaugeValue, func(h *catalog.Health) (float64, bool) { return h.Silent, true }},
	{"ec_source_packets_total", "Packets of the transport stream that a source read.", prometheus.CounterValue, func(h *catalog.Health) (float64, bool) { return float64(h.Packets), true }},
	{"ec_source_lost_packets_total", "Packets that are missing in it, at least.", prometheus.CounterValue, func(h *catalog.Health) (float64, bool) { return float64(h.Lost), true }},
	{"ec_source_scrambled_packets_total", "Scrambled packets in it.", prometheus.CounterValue, func(h *catalog.Health) (float64, bool) { return float64(h.Scrambled), true }},
	{"ec_source_tuner_lost_packets_total", "Packets that were missing when they came from a source's tuner, at least.", prometheus.CounterValue, ofTuner(func(t *catalog.Tuner) float64 { return float64(t.Lost) })},
	{"ec_source_tuner_transport_errors_total", "Packets that a source's tuner could not correct.", prometheus.CounterValue, ofTuner(func(t *catalog.Tuner) float64 { return float64(t.TEI) })},
	{"ec_source_tuner_gaps_total", "How often nothing came from a source's tuner for a while.", prometheus.CounterValue, ofTuner(func(t *catalog.Tuner) float64 { return float64(t.Gaps) })},
}

// newMetrics returns what answers a scrape.
func newMetrics(status func() Status, log *slog.Logger) http.Handler {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	m := &metrics{
		status:   status,
		info:     d("ec_build_info", "1; the label has the program's version.", "version"),
		sessions: d("ec_sessions", "Sessions by role (client, upstream or peer) and by what they run over.", "role", "over"),
		resets:   d("ec_reset_groups_total", "Groups or streams that were not sent to their end, by the reason.", "reason"),
		limited:  d("ec_limit_refused_total", "Requests, sessions, streams or bytes that were refused or held up because a peer, a block of peers or all had too much, by the limit.", "limit"),
		fill: [2]*prometheus.Desc{
			d("ec_missing_groups", "Groups that others had at the last look and this relay has not, by who looks (backfill or mirror).", "by"),
			d("ec_brought_groups_total", "Groups fetched because they were missing, by who fetched them (backfill or mirror).", "by"),
		},
		scrub: [4]*prometheus.Desc{
			d("ec_scrub_pass_groups", "Groups that the present pass has compared with their hashes."),
			d("ec_scrub_bad_groups_total", "Groups found damaged."),
			d("ec_scrub_healed_groups_total", "Damaged groups that were fetched again."),
			d("ec_scrub_waiting_groups", "Damaged groups that nobody had."),
		},
		tier: [5]*prometheus.Desc{
			d("ec_tier_groups", "Groups in the cold tier."),
			d("ec_tier_bytes", "Bytes of the groups in the cold tier."),
			d("ec_tier_waiting_groups", "Groups that are to move to the cold tier."),
			d("ec_tier_moved_groups_total", "Groups that moved to the cold tier."),
			d("ec_tier_failing", "1 while nothing can be moved to the cold tier."),
		},
		publishers:  d("ec_track_publishers", "Publishers of a track.", "track"),
		subscribers: d("ec_track_subscribers", "Subscribers of a track.", "track"),
		age:         d("ec_track_age_seconds", "How long ago the last object of a track's newest group came.", "track"),
		conflicts:   d("ec_track_conflicting_objects", "Objects of the present publishers of a track that contradict what others had brought.", "track"),
		outcast:     d("ec_track_quarantined_homes", "Homes that are in quarantine for a track.", "track"),
		loss:        d("ec_peer_loss_ratio", "Part of what is sent to an upstream or a peer that the path loses.", "peer"),
		rtt:         d("ec_peer_rtt_seconds", "Round-trip time to an upstream or a peer.", "peer"),
		latency:     d("ec_track_latency_seconds", "How long after it was broadcast the newest group of a broadcast's track began to come.", "track"),
		signal: [3]*prometheus.Desc{
			d("ec_source_signal_strength_ratio", "Signal strength at a source's tuner, as the device says.", "source"),
			d("ec_source_signal_quality_ratio", "Signal quality at a source's tuner, as the device says.", "source"),
			d("ec_source_symbol_quality_ratio", "Symbol quality at a source's tuner, as the device says.", "source"),
		},
		errors: d("ec_source_errors_total", "Errors in the transport stream of a source, by their names in ETSI TR 101 290.", "source", "error"),
		chunks: d("ec_source_chunks_total", "Chunks of a source, by what became of them (promoted, damaged or other).", "source", "fate"),
	}
	for _, n := range healthNumbers {
		m.health = append(m.health, d(n.name, n.help, "source"))
	}
	for _, n := range numbers {
		m.numbers = append(m.numbers, d(n.name, n.help))
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxRequestsInFlight: 4, Timeout: 20 * time.Second,
	})
}

// Describe tells of all metrics.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range append(m.numbers[:len(m.numbers):len(m.numbers)], m.info, m.sessions, m.resets, m.limited, m.fill[0], m.fill[1], m.scrub[0], m.scrub[1], m.scrub[2], m.scrub[3],
		m.tier[0], m.tier[1], m.tier[2], m.tier[3], m.tier[4], m.publishers, m.subscribers, m.age, m.conflicts, m.outcast, m.loss, m.rtt,
		m.latency, m.signal[0], m.signal[1], m.signal[2], m.errors, m.chunks) {
		to <- d
	}
	for _, d := range m.health {
		to <- d
	}
}

// Collect makes one snapshot.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	s := m.status()
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for i, n := range numbers {
		put(m.numbers[i], n.kind, n.read(&s))
	}
	put(m.info, prometheus.GaugeValue, 1, s.Version)
	for reason, n := range map[string]int64{"incomplete": s.Counters.ResetIncomplete, "lag": s.Counters.ResetLag, "timeout": s.Counters.ResetTimeout, "broken": s.Counters.ResetBroken} {
		put(m.resets, prometheus.CounterValue, float64(n), reason)
	}
	for limit, n := range s.Limits.Refused {
		put(m.limited, prometheus.CounterValue, float64(n), limit)
	}
	if p := s.Backfill; p != nil {
		put(m.fill[0], prometheus.GaugeValue, float64(p.Missing), "backfill")
		put(m.fill[1], prometheus.CounterValue, float64(p.Brought), "backfill")
	}
	if p := s.Mirror; p != nil {
		put(m.fill[0], prometheus.GaugeValue, float64(p.Missing), "mirror")
		put(m.fill[1], prometheus.CounterValue, float64(p.Brought), "mirror")
	}
	if p := s.Scrub; p != nil {
		put(m.scrub[0], prometheus.GaugeValue, float64(p.Groups))
		put(m.scrub[1], prometheus.CounterValue, float64(p.Bad))
		put(m.scrub[2], prometheus.CounterValue, float64(p.Healed))
		put(m.scrub[3], prometheus.GaugeValue, float64(len(p.Waiting)))
	}
	if t := s.Store.Tier; t != nil {
		put(m.tier[0], prometheus.GaugeValue, float64(t.Groups))
		put(m.tier[1], prometheus.GaugeValue, float64(t.Bytes))
		put(m.tier[2], prometheus.GaugeValue, float64(t.Waiting))
		put(m.tier[3], prometheus.CounterValue, float64(t.Moved))
		put(m.tier[4], prometheus.GaugeValue, truth(t.Error != ""))
	}
	m.peers(s.Sessions, put)
	m.tracks(s.Tracks, put)
	m.sources(s.Tracks, put)
}

type putter = func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string)

// peers counts the sessions, and tells of the paths to those that the operator chose.
func (m *metrics) peers(list []Peer, put putter) {
	type kind struct{ role, over string }
	count := map[kind]int{}
	named := map[string]bool{}
	for _, p := range list {
		count[kind{p.Role, p.Path}]++
		if p.Role == "client" || p.Repair == nil || named[p.Peer] {
			continue
		}
		named[p.Peer] = true
		put(m.loss, prometheus.GaugeValue, p.Repair.Loss, p.Peer)
		put(m.rtt, prometheus.GaugeValue, float64(p.Repair.RTT)/1e6, p.Peer)
	}
	for k, n := range count {
		put(m.sessions, prometheus.GaugeValue, float64(n), k.role, k.over)
	}
}

// tracks tells of each track, and of those with publishers or subscribers before the others.
func (m *metrics) tracks(list []Track, put putter) {
	left := maxTrackSeries
	for _, active := range []bool{true, false} {
		for _, t := range list {
			if (t.Publishers > 0 || t.Subscribers > 0) != active || left == 0 {
				continue
			}
			left--
			put(m.publishers, prometheus.GaugeValue, float64(t.Publishers), t.Track)
			put(m.subscribers, prometheus.GaugeValue, float64(t.Subscribers), t.Track)
			if t.Age != nil {
				put(m.age, prometheus.GaugeValue, *t.Age, t.Track)
			}
			if t.Latency != nil {
				put(m.latency, prometheus.GaugeValue, *t.Latency, t.Track)
			}
			conflicts, quarantined := int64(0), 0
			for _, s := range t.Senders {
				conflicts += s.Conflicts
				if s.Quarantined != nil {
					quarantined++
				}
			}
			put(m.conflicts, prometheus.GaugeValue, float64(conflicts), t.Track)
			put(m.outcast, prometheus.GaugeValue, float64(quarantined), t.Track)
		}
	}
}

// sources tells how well sources receive that somebody publishes.
func (m *metrics) sources(list []Track, put putter) {
	left := maxSourceSeries
	for _, t := range list {
		h := t.Health
		if h == nil || t.Publishers == 0 || left == 0 {
			continue
		}
		left--
		source, _, _ := strings.Cut(t.Track, "--")
		for i, n := range healthNumbers {
			if v, ok := n.read(h); ok {
				put(m.health[i], n.kind, v, source)
			}
		}
		for _, c := range h.TR101290.Counters() {
			put(m.errors, prometheus.CounterValue, float64(c.N), source, c.Name)
		}
		c := h.Chunks
		put(m.chunks, prometheus.CounterValue, float64(c.Promoted), source, "promoted")
		put(m.chunks, prometheus.CounterValue, float64(c.Damaged), source, "damaged")
		put(m.chunks, prometheus.CounterValue, float64(max(c.All-c.Promoted-c.Damaged, 0)), source, "other")
		if h.Tuner == nil {
			continue
		}
		for i, p := range []*int{h.Tuner.Strength, h.Tuner.Quality, h.Tuner.Symbol} {
			if p != nil {
				put(m.signal[i], prometheus.GaugeValue, float64(*p)/100, source)
			}
		}
	}
}
