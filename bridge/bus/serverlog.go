package bus

import (
	"fmt"
	"log/slog"
	"sync/atomic"
)

// serverLog passes the embedded server's log on. What the server calls a notice is detail to a user of the bridge.
type serverLog struct {
	log   *slog.Logger
	fatal atomic.Pointer[string]
}

const serverMessage = "embedded NATS server"

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(serverMessage, detail(format, v)) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log.Debug(serverMessage, detail(format, v)) }
func (l *serverLog) Tracef(format string, v ...any)  { l.log.Debug(serverMessage, detail(format, v)) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn(serverMessage, detail(format, v)) }
func (l *serverLog) Errorf(format string, v ...any)  { l.log.Error(serverMessage, detail(format, v)) }

// Fatalf keeps the reason for whoever started the server; it must not end the process.
func (l *serverLog) Fatalf(format string, v ...any) {
	reason := fmt.Sprintf(format, v...)
	l.fatal.CompareAndSwap(nil, &reason)
	l.log.Error(serverMessage, slog.String("detail", reason))
}

func detail(format string, v []any) slog.Attr {
	return slog.String("detail", fmt.Sprintf(format, v...))
}
