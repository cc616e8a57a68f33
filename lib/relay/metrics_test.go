package relay

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"every.channel/ec/lib/archive"
	"every.channel/ec/lib/catalog"
	"every.channel/ec/lib/mesh"
)

// scraped asks for the metrics of a status.
func scraped(t *testing.T, s Status) string {
	t.Helper()
	w := httptest.NewRecorder()
	newMetrics(func() Status { return s }, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// everything is a status in which nothing is missing.
func everything() Status {
	age, until, latency, percent, accuracy := 1.5, time.Now(), 2.25, 88, int64(1)
	health := catalog.Health{
		Silent: 12, Packets: 1000, Lost: 7, Scrambled: 2, Chunks: catalog.ChunkSums{All: 10, Promoted: 6, Damaged: 3},
		Tuner: &catalog.Tuner{Strength: &percent, Quality: &percent, Symbol: &percent, Lost: 5, TEI: 4, Gaps: 1},
	}
	health.TR101290.Priority1.Continuity, health.TR101290.Priority2.PCRAccuracy = 6, &accuracy
	return Status{
		Version: "v1", Started: time.Unix(1780000000, 0), Backfill: &mesh.Progress{Missing: 3, Brought: 4}, Mirror: &mesh.Progress{Missing: 5},
		Scrub: &archive.Scrubbed{Groups: 7, Waiting: make([]archive.Waiting, 2)},
		Store: Disk{Bytes: 11, Tier: &Tier{Groups: 2, Error: "slow"}, Paused: &Paused{}},
		Sessions: []Peer{
			{Peer: "192.0.2.1:1", Role: "client", Path: "quic"}, {Peer: "192.0.2.1:2", Role: "client", Path: "quic", Repair: &Repair{Loss: 0.5}},
			{Peer: "moqt://a:1", Role: "peer", Path: "quic", Repair: &Repair{Loss: 0.25, RTT: 40000}},
		},
		Tracks: []Track{{
			Track: "ec-atsc-1-1--ts_t13", Publishers: 2, Subscribers: 3, Age: &age, Latency: &latency,
			Senders: []Sender{{Conflicts: 1}, {Conflicts: 2, Quarantined: &until}},
		}, {Track: "ec-source-home-1--health", Publishers: 1, Health: &health}, {Track: "ec-source-gone-1--health", Health: &health}},
		Counters: Stats{Objects: 12, ResetLag: 13}, Limits: Limits{Peers: 14, Refused: map[string]int64{"names": 15}},
	}
}

// TestMetrics: what a status says is what is scraped, in a form that Prometheus likes.
func TestMetrics(t *testing.T) {
	got := scraped(t, everything())
	for _, want := range []string{
		`ec_build_info{version="v1"} 1`, "ec_start_time_seconds 1.78e+09", `ec_sessions{over="quic",role="client"} 2`, `ec_sessions{over="quic",role="peer"} 1`,
		"ec_received_objects_total 12", "ec_limit_peers 14", `ec_limit_refused_total{limit="names"} 15`, `ec_reset_groups_total{reason="lag"} 13`, `ec_missing_groups{by="backfill"} 3`, `ec_missing_groups{by="mirror"} 5`,
		"ec_scrub_waiting_groups 2", "ec_tier_failing 1", "ec_store_paused 1", "ec_store_bytes 11",
		`ec_track_publishers{track="ec-atsc-1-1--ts_t13"} 2`, `ec_track_subscribers{track="ec-atsc-1-1--ts_t13"} 3`, `ec_track_age_seconds{track="ec-atsc-1-1--ts_t13"} 1.5`,
		`ec_track_conflicting_objects{track="ec-atsc-1-1--ts_t13"} 3`, `ec_track_quarantined_homes{track="ec-atsc-1-1--ts_t13"} 1`,
		`ec_track_latency_seconds{track="ec-atsc-1-1--ts_t13"} 2.25`, `ec_source_signal_strength_ratio{source="ec-source-home-1"} 0.88`,
		`ec_source_errors_total{error="Continuity_count_error",source="ec-source-home-1"} 6`, `ec_source_errors_total{error="PCR_accuracy_error",source="ec-source-home-1"} 1`,
		`ec_source_chunks_total{fate="damaged",source="ec-source-home-1"} 3`, `ec_source_chunks_total{fate="other",source="ec-source-home-1"} 1`,
		`ec_source_lost_packets_total{source="ec-source-home-1"} 7`, `ec_source_silent_seconds{source="ec-source-home-1"} 12`, `ec_source_tuner_gaps_total{source="ec-source-home-1"} 1`,
		`ec_peer_loss_ratio{peer="moqt://a:1"} 0.25`, `ec_peer_rtt_seconds{peer="moqt://a:1"} 0.04`,
	} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(got, "ec-source-gone-1\"") {
		t.Error("a source is told of that nobody publishes any more")
	}
	if strings.Contains(got, "192.0.2.1") {
		t.Error("clients are named, of which there is no bound")
	}
	problems, err := promlint.New(strings.NewReader(got)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestMetricsAreDocumented: docs/format/metrics.md names all metrics of a relay, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/format/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := func(re, text string) (list []string) {
		for _, m := range regexp.MustCompile(re).FindAllStringSubmatch(text, -1) {
			list = append(list, m[1])
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	told, there := names("(?m)^\\| `(ec_[a-z_]+)", string(b)), names(`(?m)^# TYPE (ec_[a-z_]+) `, scraped(t, everything()))
	if !slices.Equal(told, there) {
		t.Errorf("documented:\n%s\nscraped:\n%s", strings.Join(told, "\n"), strings.Join(there, "\n"))
	}
}

// TestMetricsAreBounded: of more tracks than there is room for, those that somebody sends or watches are named.
func TestMetricsAreBounded(t *testing.T) {
	var s Status
	for i := range maxTrackSeries + 1000 {
		name := "ec-stored--" + string(rune('a'+i%26)) + time.Duration(i).String()
		s.Tracks = append(s.Tracks, Track{Track: name})
	}
	s.Tracks = append(s.Tracks, Track{Track: "watched", Subscribers: 1})
	for i := range maxSourceSeries + 10 {
		s.Tracks = append(s.Tracks, Track{Track: fmt.Sprintf("ec-source-%d-1--health", i), Publishers: 1, Health: new(catalog.Health)})
	}
	got := scraped(t, s)
	if n := strings.Count(got, "\nec_source_packets_total{"); n != maxSourceSeries {
		t.Errorf("%d sources", n)
	}
	if n := strings.Count(got, "\nec_track_publishers{"); n != maxTrackSeries {
		t.Errorf("%d tracks", n)
	}
	if !strings.Contains(got, `ec_track_subscribers{track="watched"} 1`) {
		t.Error("the track with a viewer is left out")
	}
}

// TestMetricsByHTTP: programs on this machine get metrics and status, and others do not.
func TestMetricsByHTTP(t *testing.T) {
	up, _ := withHTTP(t)
	ask := func(path string, header ...string) (int, string) {
		req, err := http.NewRequest("GET", up.HTTP[0]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(header) > 0 {
			req.Header.Set(header[0], header[1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	if code, body := ask("metrics"); code != 200 || !strings.Contains(body, "\nec_sessions") && !strings.Contains(body, "\nec_subscribers 0\n") || !strings.Contains(body, "\ngo_goroutines ") ||
		!strings.Contains(body, "\nprocess_open_fds ") {
		t.Errorf("%d %s", code, body)
	}
	var s Status
	if code, body := ask("status.json"); code != 200 || json.Unmarshal([]byte(body), &s) != nil || s.V != 1 || len(s.Listen) != 1 || s.Uptime <= 0 {
		t.Errorf("%d %s", code, body)
	}
	if code, body := ask("readyz"); code != 200 || body != "ok\n" {
		t.Errorf("%d %s", code, body)
	}
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if code, body := ask("metrics", header, "192.0.2.1"); code != 403 {
			t.Errorf("%s: %d %s", header, code, body)
		}
	}
}

// BenchmarkMetrics scrapes a relay with 1,000 tracks and 1,000 sessions.
func BenchmarkMetrics(b *testing.B) {
	s := everything()
	track := s.Tracks[0]
	for i := range 1000 {
		track.Track = "ec-atsc-1-" + time.Duration(i).String()
		s.Tracks = append(s.Tracks, track)
		s.Sessions = append(s.Sessions, s.Sessions[0])
	}
	h := newMetrics(func() Status { return s }, slog.New(slog.DiscardHandler))
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		b.SetBytes(int64(w.Body.Len()))
	}
}
