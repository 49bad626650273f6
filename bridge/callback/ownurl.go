package callback

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// ownURL receives callbacks on the signed URL of a task that the bridge has created. The URL is the proof; where webhook
// secrets are configured, Kling's signature is demanded, too.
type ownURL struct {
	*Live
	kind  kling.Kind
	token string

	remembered store.Record // if the replica remembers the task: here it takes no memory of its own
}

func (u *ownURL) admit(*Receiver, http.Header) (done func(), o outcome) {
	return func() {}, outcomeTaken
}

func (u *ownURL) unread(o outcome) outcome { return o }

func (u *ownURL) proves(outcome) bool { return true }

func (u *ownURL) attrs() []slog.Attr {
	return []slog.Attr{slog.String("kind", u.kind.Name), slog.String("token", u.token)}
}

func (u *ownURL) receive(ctx context.Context, h http.Header, body []byte, began time.Time) (outcome, error) {
	proof := u.examine(h, body)
	if err := proof.none(); err != nil {
		return outcomeUnsigned, err
	}
	task, o, err := decode(body)
	if o != outcomeTaken {
		return o, err
	}
	cb := callback{kind: u.kind, token: u.token, began: began}
	rec, o, err := u.find(ctx, cb, proof, task)
	if o != outcomeTaken {
		return o, err
	}
	return u.apply(ctx, cb, rec, task)
}
