package cmdutil

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestInputRegular: only where all of the input lies in files may it be read ahead.
func TestInputRegular(t *testing.T) {
	file := filepath.Join(t.TempDir(), "in.ts")
	if err := os.WriteFile(file, []byte("G"), 0o666); err != nil {
		t.Fatal(err)
	}
	stored, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer w.Close()
	for _, tt := range []struct {
		name  string
		stdin *os.File
		args  []string
		want  bool
	}{
		{"a file", pipe, []string{file}, true},
		{"two files", pipe, []string{file, file}, true},
		{"a file, then a pipe", pipe, []string{file, "-"}, false},
		{"a pipe", pipe, nil, false},
		{"a file at stdin", stored, nil, true},
		{"a file that is not there", pipe, []string{file, file + "2"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app := &cli.App{Reader: tt.stdin, Action: func(c *cli.Context) error {
				in, err := Input(c, tt.args, "")
				if err != nil {
					return err
				}
				defer in.Close()
				if got := in.(*input).Regular(); got != tt.want {
					t.Errorf("regular: %v, want %v", got, tt.want)
				}
				return nil
			}}
			if err := app.Run([]string{"ec-try"}); err != nil {
				t.Fatal(err)
			}
		})
	}
}
