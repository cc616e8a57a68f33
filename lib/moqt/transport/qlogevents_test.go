package transport

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// schema12 has the events of draft-ietf-quic-qlog-quic-events-12.
var schema12 = strings.Fields(`server_listening connection_started connection_closed connection_id_updated spin_bit_updated
	connection_state_updated tuple_assigned mtu_updated version_information alpn_information parameters_set parameters_restored
	packet_sent packet_received packet_dropped packet_buffered packets_acked udp_datagrams_sent udp_datagrams_received
	udp_datagram_dropped stream_state_updated frames_processed stream_data_moved datagram_data_moved
	connection_data_blocked_updated stream_data_blocked_updated datagram_data_blocked_updated migration_state_updated timer_updated
	key_updated key_discarded recovery_parameters_set recovery_metrics_updated congestion_state_updated packet_lost
	marked_for_retransmit ecn_state_updated`)

// TestQUICEventsFollowTheirSchema: what a connection logs is in a schema that its log declares.
func TestQUICEventsFollowTheirSchema(t *testing.T) {
	for name := range quicEvents {
		if n, ok := strings.CutPrefix(quicEventName(name), "quic:"); !ok || !slices.Contains(schema12, n) {
			t.Errorf("%s is logged as %s", name, quicEventName(name))
		}
	}
	if got := quicEventName("recovery:spurious_loss"); got != "quicgo:spurious_loss" {
		t.Errorf("what the schema does not have is logged as %s", got)
	}
	dir := filepath.Join(t.TempDir(), "made")
	c, server := pair(t, "moqt", &Options{Protocols: both, QLogDir: dir}, &Options{Protocols: both, QLogDir: dir})
	c.CloseWithError(0, "")
	done(t, server.Context())
	files, _ := filepath.Glob(filepath.Join(dir, "*.sqlog"))
	if len(files) == 0 {
		t.Fatal("no log")
	}
	events := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range bytes.Split(b, []byte{0x1e})[1:] {
			var e struct {
				Name  string
				Trace struct {
					EventSchemas []string `json:"event_schemas"`
				}
				Data map[string]any
			}
			if err := json.Unmarshal(r, &e); err != nil {
				t.Fatalf("record %d: %v: %s", i, err, r)
			}
			if i == 0 {
				if s := e.Trace.EventSchemas; !slices.Equal(s, []string{"urn:ietf:params:qlog:events:quic-12", quicGoSchema}) {
					t.Errorf("schemas %v", s)
				}
				continue
			}
			events++
			namespace, name, _ := strings.Cut(e.Name, ":")
			if namespace != "quicgo" && (namespace != "quic" || !slices.Contains(schema12, name)) {
				t.Errorf("%s is in no schema", e.Name)
			}
			if _, ok := e.Data["new"]; name == "mtu_updated" && !ok {
				t.Errorf("%s: %v", e.Name, e.Data)
			}
		}
	}
	if events < 10 {
		t.Errorf("%d events", events)
	}
}
