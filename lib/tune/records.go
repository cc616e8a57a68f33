package tune

import (
	"io"
	"log/slog"

	"every.channel/ec/lib/clock"
)

// records writes clock records beside the copy. Each Write is one whole line. When the file is slower
// than 1024 lines, the newest are dropped and that is logged: the copy does not wait.
type records struct {
	lines chan clock.Record
	done  chan struct{}
	log   *slog.Logger
	late  bool
}

func startRecords(w io.Writer, log *slog.Logger) *records {
	r := &records{lines: make(chan clock.Record, 1024), done: make(chan struct{}), log: log}
	go func() {
		defer close(r.done)
		var line []byte
		broken := false
		for rec := range r.lines {
			if broken {
				continue
			}
			line = rec.Append(line[:0])
			if _, err := w.Write(line); err != nil {
				// The stream matters more than the record of its clock.
				log.Error("clock record ends", "err", err)
				broken = true
			}
		}
	}()
	return r
}

func (r *records) put(rec clock.Record) {
	select {
	case r.lines <- rec:
		r.late = false
	default:
		if !r.late {
			r.log.Warn("clock records dropped: their file is too slow")
		}
		r.late = true
	}
}

// stop writes what is waiting and ends.
func (r *records) stop() {
	close(r.lines)
	<-r.done
}
