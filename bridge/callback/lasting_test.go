package callback

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

type valueKey struct{}

func TestLasting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		parent, hangUp := context.WithCancel(context.WithValue(t.Context(), valueKey{}, "kept"))
		hangUp()
		l := last(parent, time.Minute)
		if at, ok := l.Deadline(); !ok || time.Until(at) != time.Minute || l.Value(valueKey{}) != "kept" || l.Err() != nil {
			t.Errorf("ends at %v, %v; has %v, %v", at, ok, l.Value(valueKey{}), l.Err())
		}
		child, cancel := context.WithCancel(l)
		defer cancel()
		began := time.Now()
		<-child.Done()
		if took := time.Since(began); took != time.Minute || !errors.Is(l.Err(), context.DeadlineExceeded) || !errors.Is(child.Err(), context.DeadlineExceeded) {
			t.Errorf("ended after %v, %v, %v", took, l.Err(), child.Err())
		}
		l.stop()
		if !errors.Is(l.Err(), context.DeadlineExceeded) {
			t.Errorf("ended twice: %v", l.Err())
		}
		late := last(parent, time.Minute) // nobody has waited for its end
		time.Sleep(2 * time.Minute)       // of the bubble's clock
		if !errors.Is(late.Err(), context.DeadlineExceeded) {
			t.Errorf("it is over, and says %v", late.Err())
		}
		<-late.Done()
		stopped := last(parent, time.Minute)
		done := stopped.Done()
		stopped.stop()
		<-done
		if !errors.Is(stopped.Err(), context.Canceled) {
			t.Errorf("it was stopped, and says %v", stopped.Err())
		}
	})
}
