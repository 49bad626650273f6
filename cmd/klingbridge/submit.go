package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/klingbridge/klingbridge/config"
	"github.com/klingbridge/klingbridge/events"
)

// publishTimeout is how long a request is tried while JetStream can't take it, for instance for want of a leader.
const publishTimeout = 30 * time.Second

// submission is what the flags of submit say.
type submission struct {
	kind, file  string
	prompt      string
	sets, metas []string
	attach      []string
	bucket      string
	id          string
	priority    string
	timeout     string
	account     string
	retries     int // below zero: the bridge decides
	wait        bool
	download    string
	lines       bool
	asJSON      bool
}

const submitLong = `Publish a request. The body is the JSON object of Kling's own create call, from a file or, with "-", from stdin;
--prompt, --set and --attach change it or make one up. The value of --set is JSON where it is valid JSON, else a string.
Where Kling wants digits as a string, quote them twice: --set 'duration="5"'. In the name of a field dots lead into
objects, numbers into lists, and [] to the end of a list.

Name a model, with --set model_name=… or for the newer API --set model=…: what Kling takes where none is named may be one
that it no longer serves.

A file given with --attach is put into a NATS Object Store bucket, under a name of its own, and the field refers to it:
the bridge sends its base64 to Kling, or, of a video or audio in a field named url or *_url, which Kling takes in no other way,
a URL of its own that is good until the request's deadline (BRIDGE_PUBLIC_URL). Files may so be larger than a NATS message.

Prints the request id. With --wait, progress goes to stderr and the URLs of the result to stdout.

With --lines the file holds one body a line, and each becomes a request. With --id they are named <id>-<line>, so that the
same command given again makes nothing anew. --wait then prints each result as "<request id>  <url>", and sums up.

The kinds, by the pool whose slots they take ("klingbridge kinds <kind>" prints a sample body):
%s

Exit codes:
  0  the request is stored; with --wait or --download: it succeeded, and its files are saved (with --lines: all of them)
  1  it failed, was rejected, expired or was cancelled; or it could not be stored, waited for or saved
  2  wrong usage or environment: nothing was sent`

const submitExamples = `  klingbridge submit text2video --set model_name=kling-v3 --prompt "a paper boat on a rainy street" --wait
  klingbridge submit image2video request.json --id order-42 --meta Tenant=acme
  klingbridge submit image2video --set model_name=kling-v3 --attach image=first.png --attach image_tail=last.png --prompt "waves"
  klingbridge submit lip-sync --set input.mode=audio2video --set input.audio_type=file --attach input.video_url=clip.mp4 --attach input.audio_file=hello.mp3
  klingbridge submit text-to-video --prompt "a lighthouse" --set model=kling-3.0 --set settings.duration=5 --wait
  klingbridge submit drama-subtitle request.json --wait`

func (p *program) submitCommand() *cobra.Command {
	var s submission
	cmd := &cobra.Command{
		Use:               "submit <kind> [file or -]",
		Short:             "Publish a request, and wait for its end if asked to",
		Long:              fmt.Sprintf(submitLong, kindNames()),
		Example:           submitExamples,
		Args:              submitArgs,
		ValidArgsFunction: p.completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("retries") && s.retries < 0 {
				return usagef("--retries %d is not 0 to %d", s.retries, events.MaxRetries)
			}
			s.kind = args[0]
			if len(args) == 2 {
				s.file = args[1]
			}
			if s.lines && len(s.attach) > 0 {
				return usagef("--attach goes with one request: put nats-object:// references into the lines")
			}
			if s.lines {
				return p.submitLines(cmd.Context(), s)
			}
			return p.submit(cmd.Context(), s)
		},
	}
	s.flags(cmd.Flags())
	return cmd
}

func (s *submission) flags(f *pflag.FlagSet) {
	f.StringVar(&s.prompt, "prompt", "", "the body's prompt")
	s.bodyFlags(f)
	f.StringVar(&s.id, "id", "", "the request `id`, 1 to 128 bytes (default: one is made up)")
	f.StringVar(&s.priority, "priority", "normal", "high, normal or low")
	f.StringVar(&s.timeout, "timeout", "", "`duration` after which the request expires, e.g. 2h or 7200 (default: the bridge's)")
	f.StringVar(&s.account, "account", "", "`name` of the bridge's account at Kling to use (default: any)")
	f.IntVar(&s.retries, "retries", -1, "how often a task that Kling failed, for no fault of the request, is made again, 0 to 5; each costs (default: the bridge's)")
	f.Lookup("retries").DefValue = ""
	f.StringArrayVar(&s.metas, "meta", nil, "`Name=value` to find on every event of this request; may be repeated")
	f.BoolVar(&s.wait, "wait", false, "wait for the end")
	f.StringVar(&s.download, "download", "", "wait, and save the result's files in `dir`")
	f.BoolVar(&s.lines, "lines", false, "the file holds one body a line")
	f.BoolVar(&s.asJSON, "json", false, `print JSON: the completion event, or without --wait {"request_id":"…"}`)
}

// bodyFlags change a body.
func (s *submission) bodyFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&s.sets, "set", nil, "a field of the body as `key=value`; may be repeated")
	f.StringArrayVar(&s.attach, "attach", nil, "a file to send along, as `field=file`; may be repeated")
	f.StringVar(&s.bucket, "attach-bucket", events.DefaultBucket, "Object Store `bucket` for --attach, made with a TTL of 48h where there is none")
}

// errNoFile refuses what mostly comes of a shell variable that is not set.
var errNoFile = usagef("the file's name is empty")

func submitArgs(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("name a kind, for example text2video")
	case len(args) > 2:
		return usagef("unexpected argument %q after kind and file", args[2])
	case args[0] == "":
		return usagef("the kind is empty")
	case len(args) == 2 && args[1] == "":
		return errNoFile
	default:
		return nil
	}
}

func (p *program) submit(ctx context.Context, s submission) error {
	attachments, err := parseAttachments(s.attach, s.bucket)
	if err != nil {
		return err
	}
	request, err := p.request(s, attachments)
	if err != nil {
		return err
	}
	settings, err := p.settings(false)
	if err != nil {
		return err
	}
	if err := p.checkRequest(request, s, settings); err != nil {
		return err
	}
	return p.submitting(ctx, settings, func(ctx context.Context, nc *link) error {
		known, err := p.findKnown(ctx, nc, request, settings)
		if err != nil {
			return err
		}
		if err := p.upload(ctx, nc.client, attachments, settings.StreamMaxBytes["inputs"]); err != nil {
			return err
		}
		id, err := p.publish(ctx, nc.client, request, settings)
		if err != nil {
			return err
		}
		if !s.wait && s.download == "" {
			return p.printID(id, s.asJSON)
		}
		if !known {
			fmt.Fprintf(p.stderr, "request %s is stored, waiting for its end\n", printable(id))
		}
		return p.await(ctx, nc.client, id, s)
	})
}

// submitting runs f with what submitting needs of NATS, and has its spans exported.
func (p *program) submitting(ctx context.Context, s settings, f func(context.Context, *link) error) error {
	return p.traced(ctx, s, func(ctx context.Context) error { return p.onNATS(ctx, s, toSubmit(s), f) })
}

func (p *program) request(s submission, attachments []attachment) (request, error) {
	r, err := p.newRequest(s)
	if err != nil {
		return r, err
	}
	r.body, err = p.readBody(s, attachments)
	return r, err
}

// newRequest is a request without its body.
func (p *program) newRequest(s submission) (request, error) {
	r := request{kind: s.kind, Options: events.Options{ID: s.id, Account: s.account}}
	err := cmp.Or(checkID("--id", s.id), checkAccount(s.account), s.checkBody())
	if err != nil {
		return r, err
	}
	if r.Priority, err = parsePriority(s.priority); err != nil {
		return r, err
	}
	if s.timeout != "" {
		if r.Timeout, err = config.ParseDuration(s.timeout); err != nil || r.Timeout <= 0 {
			return r, usagef("--timeout %q is not a duration above zero (want e.g. 2h)", s.timeout)
		}
	}
	switch {
	case s.retries > events.MaxRetries:
		return r, usagef("--retries %d is not 0 to %d", s.retries, events.MaxRetries)
	case s.retries == 0:
		r.Retries = -1
	case s.retries > 0:
		r.Retries = s.retries
	}
	r.Metadata, err = parseMetas(s.metas)
	return r, err
}

func parseMetas(metas []string) (map[string]string, error) {
	parsed := map[string]string{}
	for _, meta := range metas {
		name, value, ok := strings.Cut(meta, "=")
		if !ok || name == "" {
			return nil, usagef("--meta %q is not Name=value", meta)
		}
		if _, twice := parsed[name]; twice {
			return nil, usagef("--meta %s is given twice, the second time as %q", name, value)
		}
		parsed[name] = value
	}
	return parsed, nil
}

func parsePriority(name string) (events.Priority, error) {
	if name == "normal" {
		return events.PriorityNormal, nil
	}
	p := events.Priority(name)
	if p != events.PriorityHigh && p != events.PriorityLow {
		return p, usagef("--priority %q is not high, normal or low", name)
	}
	return p, nil
}

// publish names the likely mistake when no stream takes the request. When it is not stored, or not at once, it says what
// keeps the bridge from being ready.
func (p *program) publish(
	ctx context.Context, client *events.Client, r request, s settings,
) (id string, err error) {
	say := func(why string) { fmt.Fprintln(p.stderr, why) }
	said, err := whileUneasy(ctx, client, "waiting for NATS to store the request", say, func() error {
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		id, err = r.submit(ctx, client)
		return err
	})
	if err != nil && ctx.Err() == nil && !strings.HasPrefix(said, notReady) {
		if why := whyNotReady(ctx, client); why != "" {
			say(why)
		}
	}
	if !errors.Is(err, events.ErrNoBridge) && !errors.Is(err, events.ErrUnknownKind) {
		return id, err
	}
	if _, known := s.kinds.Lookup(r.kind); known {
		return "", fmt.Errorf("%w; start one with \"klingbridge dev\"", err)
	}
	return "", errors.New(unknownKind(r.kind, s.kinds) + ": no bridge takes it")
}

func (p *program) printID(id string, asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprintln(p.stdout, id)
		return err
	}
	return json.NewEncoder(p.stdout).Encode(map[string]string{"request_id": id})
}

// await follows one request to its end. It reads the events from the first on, for the id may be that of a request
// which was sent before.
func (p *program) await(ctx context.Context, client *events.Client, id string, s submission) error {
	var end events.Message
	line := p.newLive()
	follow := func() error {
		for m, err := range client.Watch(ctx, events.Filter{ID: id, Since: time.Unix(1, 0)}) {
			if err != nil && m.Subject == "" {
				return p.awaitError(ctx, err, id)
			}
			if err != nil {
				line.say(printable(err.Error()))
				continue
			}
			if m.Event.Kind != s.kind { // it waited unseen when we asked
				return otherKind(m.Event)
			}
			said := p.status(p.stderr, m.Event.Status)
			if m.Type == events.TypeCompletion {
				line.turn(said, "")
				end = m
				return nil
			}
			if m.Event.Status == events.StatusRetrying {
				said += " " + printable(m.Event.Message)
			}
			line.turn(said, string(m.Event.Status))
		}
		return p.awaitError(ctx, context.Cause(ctx), id)
	}
	_, err := whileUneasy(ctx, client, "", line.say, func() error {
		if line.terminal {
			return line.while(ctx, askInterval, howItGoes(client, id), follow)
		}
		return line.tellWaits(ctx, askAbout(client, func() string { return id }), waitInWords, follow)
	})
	if err != nil {
		return err
	}
	return p.finish(ctx, end, s)
}

func (p *program) awaitError(ctx context.Context, err error, id string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted; the request goes on, see: klingbridge watch --id %s", shellQuote(id))
	}
	return fmt.Errorf("wait for request %s: %w", id, err)
}

// finish prints what came out, saves its files and turns the status into the exit code.
func (p *program) finish(ctx context.Context, m events.Message, s submission) error {
	if s.asJSON {
		fmt.Fprintf(p.stdout, "%s\n", m.Raw)
	}
	if m.Event.Status != events.StatusSucceed {
		if m.Event.Error == nil {
			return fmt.Errorf("request %s: %s", m.Event.RequestID, m.Event.Status)
		}
		p.hintAtQuotes(m.Event.Error, s.sets)
		return fmt.Errorf("request %s: %s: %s", m.Event.RequestID, m.Event.Status, reason(m.Event))
	}
	files := resultFiles(m.Event.Result)
	if !s.asJSON {
		for _, file := range files {
			fmt.Fprintln(p.stdout, file.url)
		}
	}
	if len(files) == 0 {
		fmt.Fprintln(p.stderr, "the result has no files; --json shows what Kling answered")
	}
	if s.download == "" {
		return nil
	}
	return p.download(ctx, s.download, events.Token(m.Event.RequestID), files)
}

// checkDownload makes sure that the files can be saved before anything is paid for.
func (s submission) checkDownload() error {
	if s.download == "" {
		return nil
	}
	return writable(s.download)
}

// checkRequest finds what is wrong before anything is sent.
func (p *program) checkRequest(r request, s submission, settings settings) error {
	if _, err := r.msg(settings.subjects); err != nil {
		return usageError{err}
	}
	p.warnOfModels(settings.kinds, r)
	return s.checkDownload()
}
