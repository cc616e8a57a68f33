package moqt

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"every.channel/ec/lib/moqt/transport"
)

// qlogSchema names the events: draft-pardue-moq-qlog-moq-events-07, whose fields these are, and a few of our own beside them.
const (
	qlogSchema    = "urn:ietf:params:qlog:events:moqt-07"
	qlogOwnSchema = "tag:every.channel,2026:qlog:ec-00"
)

// qlogBuffer is how much is gathered before it is written. Control messages and the end of the session are written at once.
const qlogBuffer = 32 << 10

// qlog is the log of one session: a file of JSON text sequences (draft-ietf-quic-qlog-main-schema §5), which holds no more
// than Config.QLogSize bytes. When that is reached, or the file fails, it ends and the session goes on. A session without one
// has a nil *qlog and does nothing.
type qlog struct {
	log   *slog.Logger
	start time.Time
	over  sync.Once // close

	mu   sync.Mutex // guards what follows
	f    *os.File   // nil: over
	buf  []byte
	left int64 // bytes the file may still take
	ids  uint64
}

// openQLog begins the log of a session in dir; nil, with a warning, if there can be none.
func openQLog(dir string, size int64, client bool, conn Conn, log *slog.Logger) *qlog {
	var id [8]byte
	rand.Read(id[:])
	side := "server"
	if client {
		side = "client"
	}
	q := &qlog{log: log, start: time.Now(), left: size}
	name := fmt.Sprintf("%s_%s_%s.sqlog", q.start.UTC().Format("20060102T150405.000"), hex.EncodeToString(id[:]), side)
	f, err := transport.CreateQLog(dir, name)
	if err != nil {
		log.Warn("no qlog", "err", err)
		return nil
	}
	q.f = f
	type object = map[string]any
	head, _ := json.Marshal(object{
		"file_schema": "urn:ietf:params:qlog:file:sequential", "serialization_format": "application/qlog+json-seq",
		"title": "MoQ session",
		"trace": object{
			"event_schemas": []string{qlogSchema, qlogOwnSchema},
			"vantage_point": object{"type": side},
			"common_fields": object{
				"group_id": hex.EncodeToString(id[:]), "protocol_types": []string{"MOQT"}, "time_format": "relative_to_epoch",
				"reference_time": object{"clock_type": "monotonic", "epoch": "unknown", "wall_clock_time": q.start.Format(time.RFC3339Nano)},
				// of our own
				"version": conn.Info().Protocol, "local": conn.LocalAddr().String(), "remote": conn.RemoteAddr().String(),
			},
		},
		"qlog_format": "JSON-SEQ", "qlog_version": "0.3", // which viewers still want
	})
	q.buf = append(append(append(q.buf, 0x1e), head...), '\n')
	return q
}

// event begins a record; the caller appends the members of data and calls end. It returns false, with nothing to end, when
// the log is over.
func (q *qlog) event(name string) (qlogData, bool) {
	q.mu.Lock()
	if q.f == nil {
		q.mu.Unlock()
		return qlogData{}, false
	}
	b := append(q.buf, "\x1e{\"time\":"...)
	b = strconv.AppendFloat(b, float64(time.Since(q.start).Microseconds())/1000, 'f', 3, 64)
	b = append(append(append(b, `,"name":"`...), name...), `","data":{`...)
	return qlogData{q: q, b: b, from: len(q.buf)}, true
}

// qlogData is the data of an event.
type qlogData struct {
	q    *qlog
	b    []byte
	from int
	some bool
}

func (d *qlogData) key(k string) {
	if d.some {
		d.b = append(d.b, ',')
	}
	d.some = true
	d.b = append(append(append(d.b, '"'), k...), '"', ':')
}

func (d *qlogData) uint(k string, v uint64) {
	d.key(k)
	d.b = strconv.AppendUint(d.b, v, 10)
}

func (d *qlogData) bool(k string, v bool) {
	d.key(k)
	d.b = strconv.AppendBool(d.b, v)
}

// text writes what json makes of a value; strings of the peer are bounded by the message they came in.
func (d *qlogData) text(k string, v any) {
	d.key(k)
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte("null")
	}
	d.b = append(d.b, b...)
}

// end finishes the record. now: it should be in the file when the session dies.
func (d *qlogData) end(now bool) {
	q := d.q
	defer q.mu.Unlock()
	b := append(d.b, "}}\n"...)
	if int64(len(b)) > q.left {
		// The record does not fit: the file ends with those before it.
		q.buf = b[:d.from]
		q.finish("size reached")
		return
	}
	q.buf = b
	if now || len(b) >= qlogBuffer {
		q.flush()
	}
}

// flush writes what was gathered; mu is held.
func (q *qlog) flush() {
	if q.f == nil || len(q.buf) == 0 {
		return
	}
	n, err := q.f.Write(q.buf)
	q.left -= int64(n)
	q.buf = q.buf[:0]
	if err != nil {
		q.log.Warn("qlog ends", "file", q.f.Name(), "err", err)
		q.f.Close()
		q.f, q.buf = nil, nil
	}
}

// finish ends the file; mu is held.
func (q *qlog) finish(why string) {
	q.flush()
	if q.f == nil {
		return
	}
	if err := q.f.Close(); err != nil {
		q.log.Warn("qlog ends", "file", q.f.Name(), "err", err)
	} else if why != "" {
		q.log.Info("qlog ends", "file", q.f.Name(), "why", why)
	}
	q.f, q.buf = nil, nil
}

// streamID finds the id of a stream; transports that have none get numbers in the order in which they are asked for.
func (q *qlog) streamID(st any) uint64 {
	if q == nil {
		return 0
	}
	for {
		switch s := st.(type) {
		case interface{ StreamID() uint64 }:
			return s.StreamID()
		case recodedSend:
			st = s.SendStream
		case recodedReceive:
			st = s.ReceiveStream
		case duplex:
			if st = s.SendStream; s.SendStream == nil {
				st = s.ReceiveStream
			}
		default:
			q.mu.Lock()
			defer q.mu.Unlock()
			q.ids++
			return q.ids - 1
		}
	}
}
