package bridge

import (
	"fmt"
	"time"
)

// maxClockOffset is how far two clocks may be apart before it is told.
const maxClockOffset = 2 * time.Second

// ClocksApart says how far this machine's clock is from the NATS server's, which is ahead by offset. Up to 2 s it says
// nothing.
func ClocksApart(offset time.Duration) string {
	if offset.Abs() <= maxClockOffset {
		return ""
	}
	where := "behind"
	if offset < 0 {
		where = "ahead of"
	}
	return fmt.Sprintf("this machine's clock is %s %s the NATS server's", offset.Abs().Round(100*time.Millisecond), where)
}
