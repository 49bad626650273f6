//go:build !unix

package listener

import "math"

// openFiles is how many files and connections the process may have open: there is no such limit here.
func openFiles() int { return math.MaxInt }
