//go:build !unix

package activate

func keep(int) {}
