package tune

import "os"

// Output is a file that is emptied only when the first byte is written: a mistyped channel must not cost
// the recording that was there before.
type Output struct {
	*os.File
	begun bool
}

// CreateOutput opens a file for writing and finds out at once whether that is allowed.
func CreateOutput(name string) (*Output, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	return &Output{File: f}, nil
}

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	if !o.begun {
		o.begun = true
		if i, err := o.Stat(); err == nil && i.Mode().IsRegular() {
			if err := o.Truncate(0); err != nil {
				return 0, err
			}
		}
	}
	return o.File.Write(b)
}
