//go:build !unix

package lease

import (
	"errors"
	"os"
)

const noFollow = 0

func lock(*os.File) (bool, error) { return false, errors.ErrUnsupported }
