package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
)

// Names of shared settings.
const (
	settingNamespace      = "namespace"
	settingCallbackSecret = "callback-secret"
)

// errForeignSetting is returned for a stored value that no bridge has generated. It does not pass by itself.
var errForeignSetting = errors.New("the stored value is none that a bridge has generated")

// sharedSetting returns a value all replicas agree on: the first one to ask generates it, and the stream keeps that.
func sharedSetting(ctx context.Context, b *bus.Bus, s subjects.Subjects, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, store.PublishTimeout)
	defer cancel()
	value, err := storedSetting(ctx, b, s, name)
	if !errors.Is(err, bus.ErrNoMessage) {
		return value, err
	}
	subject := s.Setting(name)
	msg := nats.NewMsg(subject)
	msg.Data = []byte(newSetting())
	bus.GuardSequence(msg, subject, 0)
	if _, err := b.Publish(ctx, msg); err != nil {
		return "", fmt.Errorf("setting %s: %w", name, err)
	}
	return storedSetting(ctx, b, s, name)
}

// storedSetting returns what is stored, or bus.ErrNoMessage.
func storedSetting(ctx context.Context, b *bus.Bus, s subjects.Subjects, name string) (string, error) {
	m, err := b.Last(ctx, s.SettingsStream(), s.Setting(name))
	if err != nil {
		return "", fmt.Errorf("setting %s: %w", name, err)
	}
	if !settingPattern.Match(m.Data) { // which it does not say: it may be a secret after all
		return "", fmt.Errorf("setting %s: %w: find out who stored message %d of stream %s on %s, delete it, and a new one is generated",
			name, errForeignSetting, m.Seq, s.SettingsStream(), m.Subject)
	}
	return string(m.Data), nil
}

// keepSettings stores again the values that replicas share where they have gone from the stream. Another value in the place
// of one that this replica works with is an [errForeignSetting]: a restart takes it over.
func keepSettings(ctx context.Context, b *bus.Bus, s subjects.Subjects, values map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, store.PublishTimeout)
	defer cancel()
	for name, value := range values {
		stored, err := storedSetting(ctx, b, s, name)
		if errors.Is(err, bus.ErrNoMessage) {
			msg := nats.NewMsg(s.Setting(name))
			msg.Data = []byte(value)
			bus.GuardSequence(msg, msg.Subject, 0)
			if _, err := b.Publish(ctx, msg); err != nil {
				return fmt.Errorf("setting %s: %w", name, err)
			}
			stored, err = storedSetting(ctx, b, s, name)
		}
		switch {
		case err != nil:
			return err
		case stored != value:
			return fmt.Errorf("setting %s: %w: it is not the one this replica works with", name, errForeignSetting)
		}
	}
	return nil
}

func newSetting() string { return rand.Text() + rand.Text() }

// settingPattern is the form of newSetting: twice the 26 characters of base32 that rand.Text gives, which may become
// more. What the server answers to a publish, which may have been sent here, has another.
var settingPattern = regexp.MustCompile(`^[A-Z2-7]{52,128}$`)
