package bridge

import (
	"slices"

	"github.com/klingbridge/klingbridge/bridge/archive"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// NATSUse is one subject of every sort that the NATS user of a bridge publishes on and subscribes to.
type NATSUse struct {
	Publish   []string
	Subscribe []string
}

// UseOfNATS lists what the permissions of the bridge's user have to let pass. Its answers to questions, which go to
// whoever asks, are not among it.
func UseOfNATS(b *bus.Bus, o Options) NATSUse {
	o = o.withDefaults()
	s := o.Subjects
	const id = "id"
	kind, pool := o.Kinds.All()[0].Name, string(kling.PoolVideo)
	streams := []string{s.RequestsStream(), s.EventsStream(), s.DeadStream(), s.SettingsStream()}
	publish := []string{
		s.Put(s.Progress(kind, events.StatusSubmitted, id)), s.Put(s.Completion(kind, events.StatusSucceed, id)),
		s.Put(s.Late(kind, events.StatusSucceed, id)), s.Put(s.Archived(kind, events.StatusSucceed, id)),
		s.Put(s.Pending(kind, pool, id)), s.Put(s.External(id)),
		s.Dead(kind, events.StatusRejected, id), s.Setting(settingCallbackSecret), s.SlotNews(pool),
		b.API("INFO"), b.API("STREAM.MSG.GET." + s.EventsStream()), b.API("DIRECT.GET." + s.EventsStream()),
		b.API("DIRECT.GET." + s.RequestsStream()),
		b.API("CONSUMER.LIST." + s.RequestsStream()), b.API("CONSUMER.DELETE." + s.RequestsStream() + ".gone"),
	}
	for _, p := range events.Priorities() {
		publish = append(publish, s.Request(kind, p))
	}
	for _, stream := range streams {
		publish = append(publish, b.API("STREAM.CREATE."+stream), b.API("STREAM.UPDATE."+stream), b.API("STREAM.INFO."+stream),
			b.API("STREAM.MSG.DELETE."+stream))
	}
	for stream, consumer := range map[string]string{
		s.RequestsStream(): dispatch.Lane{Pool: kling.PoolVideo, Generation: kling.V1}.Durable(), s.EventsStream(): "polls",
	} {
		of := stream + "." + consumer
		publish = append(publish, b.API("CONSUMER.CREATE."+of), b.API("CONSUMER.INFO."+of), b.API("CONSUMER.MSG.NEXT."+of),
			"$JS.ACK."+of+".1.1.1.1.0")
	}
	publish = append(publish, archive.Subjects(o.Archive)...)
	slices.Sort(publish)
	return NATSUse{Publish: publish, Subscribe: []string{
		s.SlotNews("*"),
		s.API(events.EndpointTaskGet), s.API(events.EndpointStatus), s.Call(events.CallTTS), "$SRV.PING", "$SRV.INFO.klingbridge",
		b.Conn().NewInbox(),
	}}
}
