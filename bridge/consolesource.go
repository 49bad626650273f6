package bridge

import (
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/bridge/api"
	"github.com/klingbridge/klingbridge/bridge/console"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// consoleSource is what the console asks: the API, and what else the page shows.
type consoleSource struct{ *api.API }

// Kinds lists the kinds with what to begin with in a request.
func (s consoleSource) Kinds() []console.Kind {
	samples := kling.Samples()
	var all []console.Kind
	for _, k := range s.API.Kinds.All() {
		sample := samples[k.Name]
		all = append(all, console.Kind{
			Name: k.Name, Pool: string(k.Pool), Required: append([]string{}, sample.Required...), Body: string(sample.Body),
			UsualSeconds: int(sample.Usual / time.Second),
		})
	}
	return all
}

// Pauses lists what is not sent.
func (s consoleSource) Pauses() []console.Pause {
	var all []console.Pause
	for _, h := range s.API.Pauses.All() {
		all = append(all, console.Pause{
			Account: h.Account, What: strings.ToUpper(h.What[:1]) + h.What[1:], Reason: h.Reason, NextProbe: events.At(h.NextProbe),
		})
	}
	return all
}
