package doctor

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge"
)

// askUser is answered by the server with what it lets the asking user do. The user needs permission to ask.
const askUser = "$SYS.REQ.USER.INFO"

// permissions compares what the user may do with what a bridge does. What is denied to a bridge looks to it like a server
// that does not answer.
func (e *examination) permissions(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answered := false
	var allowed *server.Permissions // nil: everything
	// Behind a leaf node other servers answer too, about the connection between the two.
	_ = e.gather(ctx, askUser, func(reply *nats.Msg) {
		var answer struct {
			Server struct {
				ID string `json:"id"`
			} `json:"server"`
			Data struct {
				Permissions *server.Permissions `json:"permissions"`
			} `json:"data"`
		}
		if json.Unmarshal(reply.Data, &answer) == nil && answer.Server.ID == e.bus.Conn().ConnectedServerId() {
			answered, allowed = true, answer.Data.Permissions
		}
	})
	if !answered {
		return note("what this user may do can't be seen", "may it publish on "+askUser+"?")
	}
	if allowed == nil {
		return ok("this user may publish and subscribe to everything")
	}
	use := bridge.UseOfNATS(e.bus, e.Bridge)
	var findings []Finding
	for _, sort := range []struct {
		may      string
		subjects []string
		given    *server.SubjectPermission
	}{{"publish on", use.Publish, allowed.Publish}, {"subscribe to", use.Subscribe, allowed.Subscribe}} {
		denied := slices.DeleteFunc(sort.subjects, func(s string) bool { return permitted(s, sort.given) })
		if len(denied) > 0 {
			findings = append(findings, fault("this user may not "+sort.may+" "+strings.Join(denied, ", "),
				"give it the permissions that deployments/README.md lists")...)
		}
	}
	if len(findings) == 0 {
		return ok("this user may do all that a bridge does")
	}
	return findings
}

// permitted reports whether all that a subject matches is allowed. Only what is denied as a whole counts as denied: the
// server withholds the rest from a subscription.
func permitted(subject string, p *server.SubjectPermission) bool {
	if p == nil {
		return true
	}
	matches := func(pattern string) bool {
		pattern, _, _ = strings.Cut(pattern, " ") // a queue may follow
		return server.SubjectMatchesFilter(subject, pattern)
	}
	return (len(p.Allow) == 0 || slices.ContainsFunc(p.Allow, matches)) && !slices.ContainsFunc(p.Deny, matches)
}
