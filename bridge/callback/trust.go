package callback

// Trust says what proves a callback on a task's own signed URL.
type Trust string

// The ways to trust a callback.
const (
	TrustURL   Trust = "url"   // the signed URL is the proof
	TrustQuery Trust = "query" // a callback only triggers an immediate poll
)
