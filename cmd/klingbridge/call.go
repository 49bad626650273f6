package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/events"
)

const callLong = `Make one of Kling's calls that answer at once, by way of the bridge, and print what Kling has in data, as it came.

The calls: %s.

The body is the JSON object of Kling's own call, from a file or, with "-", from stdin; --set and --attach change it or make
one up, as with submit. What Kling has as a GET takes the members as its query. Without a body an empty object is sent.

A call is sent once: tts, for one, is paid for, and can't be asked about afterwards. The error says whether Kling may have
done it all the same.

Exit codes:
  0  Kling has done it
  1  Kling has refused it, has not answered, or could not be asked; or no bridge answers
  2  wrong usage or environment: nothing was sent`

const callExamples = `  klingbridge call presets-voices --set pageSize=100
  klingbridge call tts --set text="good morning" --set voice_id=… --set voice_language=en
  klingbridge call identify-face --set 'video_id="871000000000000777"'
  klingbridge submit advanced-lip-sync --set session_id=… --set 'face_choose=[{"face_id":"0","audio_id":"…",
    "sound_start_time":0,"sound_end_time":3000,"sound_insert_time":0}]' --wait`

func (p *program) callCommand() *cobra.Command {
	var s submission
	var account string
	cmd := &cobra.Command{
		Use:       "call <name> [file or -]",
		Short:     "Make a call that Kling answers at once",
		Long:      fmt.Sprintf(callLong, strings.Join(events.Calls(), ", ")),
		Example:   callExamples,
		Args:      callArgs,
		ValidArgs: events.Calls(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkAccount(account); err != nil {
				return err
			}
			if len(args) == 2 {
				s.file = args[1]
			}
			return p.call(cmd.Context(), args[0], s, account)
		},
	}
	s.bodyFlags(cmd.Flags())
	cmd.Flags().StringVar(&account, "account", "", "`name` of the bridge's account to use (default: any)")
	return cmd
}

func callArgs(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("name a call, for example identify-face")
	case len(args) > 2:
		return usagef("unexpected argument %q after name and file", args[2])
	case len(args) == 2 && args[1] == "":
		return errNoFile
	case !slices.Contains(events.Calls(), args[0]):
		return usagef("%q is no call; there are: %s", args[0], strings.Join(events.Calls(), " "))
	default:
		return nil
	}
}

func (p *program) call(ctx context.Context, name string, s submission, account string) error {
	attachments, err := parseAttachments(s.attach, s.bucket)
	if err != nil {
		return err
	}
	if err := s.checkBody(); err != nil {
		return err
	}
	raw, err := p.readFile(s.file)
	if err != nil {
		return err
	}
	body, err := changedBody(raw, bodyName(s.file), s, attachments)
	if err != nil {
		return err
	}
	settings, err := p.settings(false)
	if err != nil {
		return err
	}
	return p.onNATS(ctx, settings, need{}, func(ctx context.Context, nc *link) error {
		if err := p.upload(ctx, nc.client, attachments, settings.StreamMaxBytes["inputs"]); err != nil {
			return err
		}
		var data json.RawMessage
		err := p.patiently("waiting for Kling's answer, by way of the bridge", func() (err error) {
			data, err = nc.client.Call(ctx, name, body, events.CallOptions{Account: account})
			return err
		})
		if err != nil {
			return p.callFailed(err, s.sets)
		}
		_, err = fmt.Fprintf(p.stdout, "%s\n", data)
		return err
	})
}

// callFailed is the error of a call, which is none of usage: the bridge, or Kling, has said no.
func (p *program) callFailed(err error, sets []string) error {
	refusal, ok := errors.AsType[*events.APIError](err)
	if !ok || refusal.Kling == nil {
		return explained(err)
	}
	p.hintAtQuotes(refusal.Kling, sets)
	return errors.New(printable(refusal.Message))
}
