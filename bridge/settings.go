package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/events"
)

// Names of shared settings.
const (
	settingNamespace      = "namespace"
	settingCallbackSecret = "callback-secret"
)

// sharedSetting returns a value all replicas agree on: the first one to ask generates it.
func sharedSetting(ctx context.Context, b *bus.Bus, s events.Subjects, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	subject := s.Setting(name)
	msg := nats.NewMsg(subject)
	msg.Data = []byte(rand.Text() + rand.Text())
	bus.GuardSequence(msg, subject, 0)
	if _, err := b.Publish(ctx, msg); err != nil {
		return "", fmt.Errorf("setting %s: %w", name, err)
	}
	stored, err := b.Last(ctx, s.SettingsStream(), subject)
	if err != nil {
		return "", fmt.Errorf("setting %s: %w", name, err)
	}
	if len(stored.Data) == 0 {
		return "", fmt.Errorf("setting %s: %w", name, errors.New("stored value is empty"))
	}
	return string(stored.Data), nil
}
