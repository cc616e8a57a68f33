package transport

import (
	"bufio"
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/quic-go/quic-go"
	quicqlog "github.com/quic-go/quic-go/qlog"
	"github.com/quic-go/quic-go/qlogwriter"
)

// qlogBuffer is how many bytes are gathered before they are written.
const qlogBuffer = 32 << 10

// quicTracer makes the qlog that quic-go writes of each connection. The file is named by connection id and side.
func quicTracer(o *Options) func(context.Context, bool, quic.ConnectionID) qlogwriter.Trace {
	if o.QLogDir == "" {
		return nil
	}
	return func(_ context.Context, client bool, id quic.ConnectionID) qlogwriter.Trace {
		side := "server"
		if client {
			side = "client"
		}
		f, err := CreateQLog(o.QLogDir, id.String()+"_"+side+".sqlog")
		if err != nil {
			o.Logger.Warn("no qlog of a connection", "err", err)
			return nil
		}
		out := &boundedFile{f: f, left: o.QLogSize, log: o.Logger}
		trace := qlogwriter.NewConnectionFileSeq(&bufferedFile{bufio.NewWriterSize(out, qlogBuffer), out}, client, id, []string{quicqlog.EventSchema, quicGoSchema})
		go trace.Run() // ends with the connection
		return quicTrace{trace}
	}
}

// CreateQLog creates a file for a log, and its folder if that is not there.
func CreateQLog(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// boundedFile writes to a file until left is used up or the file fails; further bytes are dropped. Readers of JSON text sequences
// skip a record that is cut off there.
type boundedFile struct {
	f    *os.File
	left int64
	log  *slog.Logger
}

func (b *boundedFile) Write(p []byte) (int, error) {
	if n := min(int64(len(p)), b.left); n > 0 {
		b.left -= n
		if _, err := b.f.Write(p[:n]); err != nil {
			b.log.Warn("qlog ends", "file", b.f.Name(), "err", err)
			b.left = 0
		}
	}
	return len(p), nil
}

type bufferedFile struct {
	*bufio.Writer
	b *boundedFile
}

func (f *bufferedFile) Close() error {
	f.Flush()
	if err := f.b.f.Close(); err != nil {
		f.b.log.Warn("qlog ends", "file", f.b.f.Name(), "err", err)
	}
	return nil
}
