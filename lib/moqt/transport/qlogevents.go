package transport

import (
	"strings"
	"time"

	quicqlog "github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
	"github.com/quic-go/quic-go/qlogwriter/jsontext"
)

// quicGoSchema has the events that quic-go logs and its declared schema, draft-ietf-quic-qlog-quic-events-12, does not have. Their
// namespace is quicgo.
const quicGoSchema = "tag:every.channel,2026:qlog:quicgo-00"

// quicEvents are the events of that draft which quic-go logs, by the names it has for them. quic-go declares draft 12 and uses
// the names of draft 08, where "transport", "recovery" and "security" stood in place of "quic".
var quicEvents = map[string]string{
	"recovery:metrics_updated":    "recovery_metrics_updated",
	"recovery:loss_timer_updated": "timer_updated",
	"quic:datagram_dropped":       "udp_datagram_dropped",

	"transport:connection_started": "", "transport:connection_closed": "", "transport:version_information": "",
	"transport:alpn_information": "", "transport:parameters_set": "", "transport:parameters_restored": "",
	"transport:packet_sent": "", "transport:packet_received": "", "transport:packet_dropped": "", "transport:packet_buffered": "",
	"recovery:packet_lost": "", "recovery:congestion_state_updated": "", "recovery:ecn_state_updated": "", "recovery:mtu_updated": "",
	"quic:recovery_parameters_set": "", "security:key_updated": "", "security:key_discarded": "",
}

// quicEventName is the name that an event of quic-go has in the schemas which its log declares.
func quicEventName(name string) string {
	_, plain, _ := strings.Cut(name, ":")
	other, known := quicEvents[name]
	switch {
	case !known:
		return "quicgo:" + plain
	case other != "":
		return "quic:" + other
	}
	return "quic:" + plain
}

// quicTrace gives events their names in the schema.
type quicTrace struct{ qlogwriter.Trace }

func (t quicTrace) AddProducer() qlogwriter.Recorder {
	r := t.Trace.AddProducer()
	if r == nil {
		return nil
	}
	return quicRecorder{r}
}

type quicRecorder struct{ qlogwriter.Recorder }

func (r quicRecorder) RecordEvent(e qlogwriter.Event) {
	name := quicEventName(e.Name())
	if mtu, ok := e.(quicqlog.MTUUpdated); ok {
		e = mtuUpdated{mtu}
	}
	r.Recorder.RecordEvent(quicEvent{e, name})
}

type quicEvent struct {
	qlogwriter.Event
	name string
}

func (e quicEvent) Name() string { return e.name }

// mtuUpdated has the members that the schema has.
type mtuUpdated struct{ quicqlog.MTUUpdated }

func (e mtuUpdated) Encode(enc *jsontext.Encoder, _ time.Time) error {
	for _, token := range []jsontext.Token{
		jsontext.BeginObject, jsontext.String("new"), jsontext.Uint(uint64(e.Value)), jsontext.String("done"), jsontext.Bool(e.Done), jsontext.EndObject,
	} {
		if err := enc.WriteToken(token); err != nil {
			return err
		}
	}
	return nil
}
