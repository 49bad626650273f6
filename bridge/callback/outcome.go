package callback

import "net/http"

// outcome is what a callback came to: how it is answered and as what it is counted.
type outcome string

const (
	outcomeTaken outcome = "taken" // so far: it is not settled

	// outcomeAnswered is that of a self-test, which is no callback: it is not counted.
	outcomeAnswered outcome = "answered"

	outcomeStored   outcome = "stored"   // its event was published
	outcomeRepeated outcome = "repeated" // what it says was known
	outcomeLate     outcome = "late"     // published beside an expired or cancelled request
	outcomePolled   outcome = "polled"   // Kling is asked instead
	// outcomeUnintelligible is of a body that says nothing that can be understood. Kling is asked instead.
	outcomeUnintelligible outcome = "unintelligible"
	outcomeIgnored        outcome = "ignored" // nothing for this route: a test of Kling's console, or a task with a URL of its own

	outcomeForged        outcome = "forged"        // no URL of ours, or a task that Kling does not know
	outcomeUnsigned      outcome = "unsigned"      // no valid Standard Webhooks signature
	outcomeMalformed     outcome = "malformed"     // not what Kling sends
	outcomeContradicting outcome = "contradicting" // about another task than its URL
	outcomeNotPosted     outcome = "not_posted"    // another method than POST
	outcomeCompressed    outcome = "compressed"
	outcomeTooLarge      outcome = "too_large"
	outcomeTooSlow       outcome = "too_slow"    // the body did not come
	outcomeUnavailable   outcome = "unavailable" // could not be stored or proven now
)

// outcomes lists those that are counted.
func outcomes() []outcome {
	return []outcome{
		outcomeStored, outcomeRepeated, outcomeLate, outcomePolled, outcomeUnintelligible, outcomeIgnored, outcomeForged,
		outcomeUnsigned, outcomeMalformed, outcomeContradicting, outcomeNotPosted, outcomeCompressed, outcomeTooLarge,
		outcomeTooSlow, outcomeUnavailable,
	}
}

// status is the answer's.
func (o outcome) status() int {
	switch o {
	case outcomeStored, outcomeRepeated, outcomeLate, outcomePolled, outcomeUnintelligible, outcomeIgnored:
		return http.StatusOK
	case outcomeForged:
		return http.StatusNotFound
	case outcomeUnsigned:
		return http.StatusUnauthorized
	case outcomeMalformed:
		return http.StatusBadRequest
	case outcomeContradicting:
		return http.StatusConflict
	case outcomeNotPosted:
		return http.StatusMethodNotAllowed
	case outcomeCompressed:
		return http.StatusUnsupportedMediaType
	case outcomeTooLarge:
		return http.StatusRequestEntityTooLarge
	case outcomeTooSlow:
		return http.StatusRequestTimeout
	case outcomeUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// proves reports whether what came on a URL without a signature was shown to be Kling's, by its signature or by asking.
func (o outcome) proves() bool {
	return o == outcomeStored || o == outcomeRepeated || o == outcomeLate || o == outcomePolled || o == outcomeIgnored
}
