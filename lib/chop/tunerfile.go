package chop

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"every.channel/ec/lib/catalog"
)

// TunerFile returns a function for Config.Tuner that reads the file of `ec-tune --health`. A file that is not there, and a record that is old, tell
// nothing: ec-tune may start later and end earlier. What else is wrong with the file is logged, once until it is right again.
func TunerFile(name string, log *slog.Logger) func() *catalog.Tuner {
	failed := false
	return func() *catalog.Tuner {
		t, err := readTuner(name)
		switch {
		case err == nil && t.Fresh(time.Now()):
			failed = false
			return t
		case err == nil, errors.Is(err, fs.ErrNotExist):
		case !failed:
			failed = true
			log.Warn("the record of the tuner cannot be read", "file", name, "err", err)
		}
		return nil
	}
}

func readTuner(name string) (*catalog.Tuner, error) {
	if i, err := os.Stat(name); err == nil && !i.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a file", catalog.ErrTuner) // a pipe would be waited for
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, catalog.MaxTunerBytes+1))
	if err != nil {
		return nil, err
	}
	return catalog.ParseTuner(b)
}
