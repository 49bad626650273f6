package doctor

import (
	"slices"
	"strings"
)

// remedies say what to do about a reason for which a bridge is not ready, by words that it has. The first that fits holds.
var remedies = []struct{ words, remedy string }{
	{"Permissions Violation", "give the bridge's NATS user the permissions that deployments/README.md lists"},
	{"with discard", "take the limit off: nats stream edit … --max-msgs=-1 --max-bytes=-1"},
	{"max_age is", "nats stream edit … --max-age, or start the bridge anew, which sets it"},
	{"have disappeared", "the bridge makes them anew; what they held is lost"},
	{"make streams anew", "mend what keeps the bridge from making them: see streams above"},
	{"is full", "let requests end, or give the stream more room (BRIDGE_STREAM_MAX_BYTES)"},
	{"publishing below", "look for a full disk of the NATS server (embedded: BRIDGE_DATA_DIR) and for limits of the account that are used up; with room again the bridge goes on by itself"},
	{"consumer ", "delete that consumer (nats consumer rm): the bridge makes it anew"},
	{"streams and consumers are not ready", "has JetStream a leader, and are domain and permissions right?"},
}

// readyAdvice says what to do about all the reasons.
func readyAdvice(reasons []string) string {
	var advice []string
	for _, reason := range reasons {
		remedy := "mend what it names; requests wait meanwhile"
		for _, r := range remedies {
			if strings.Contains(reason, r.words) {
				remedy = r.remedy
				break
			}
		}
		if !slices.Contains(advice, remedy) {
			advice = append(advice, remedy)
		}
	}
	return strings.Join(advice, "; ")
}
