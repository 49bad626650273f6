package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) taskCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "task",
		Short: "Look at requests, cancel them, or send them again",
		Args:  noSuchCommand,
		RunE:  p.needsCommand,
	}
	cmd.AddCommand(p.taskGetCommand(), p.taskListCommand(), p.taskCancelCommand(), p.taskAgainCommand())
	return cmd
}

// maxTypo is how far off a command may be that is suggested: insertions, deletions and replacements. It is the library's for
// commands of the first level.
const maxTypo = 2

// noSuchCommand refuses the arguments of a command that only groups others.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = maxTypo
	if likely := cmd.SuggestionsFor(args[0]); len(likely) > 0 {
		text += "\n\nDid you mean this?\n\t" + strings.Join(likely, "\n\t") + "\n"
	}
	return usageError{errors.New(text)}
}

// taskFields describes the JSON of a task.
const taskFields = `request_id, kind, pool; status: waiting (in the stream), creating (its create call is under way), submitted, processing,
succeed, failed, rejected, expired or cancelled; task_id (Kling's) and external_task_id, "" while there is none; account: at Kling, only where there is one yet;
requested_at, submitted_at, completed_at, next_poll_at, deadline: times in RFC 3339, null where there is none; metadata:
an object; error: null, or an object with class, code, http_status, message and retryable; before: only of one that waits,
how many of its pool came earlier and are no less urgent; replay_of: only on a replay; trace_id: only where there is a
trace; of one that has ended also source: callback, poll or bridge, by which the end was known, and units: what Kling
deducted, a decimal string.`

// resultField describes what only the answer about one task has.
const resultField = `
body: what was asked for, as it came, its first 4 KiB, and body_bytes: how long it is; both only where that is known.
waits_for: only of one that waits or is being created, what for, in words for people.
result: only where Kling made something, be it after the deadline; an object with videos, images, audios and files, lists of
objects with url (audios: url_mp3 and url_wav) and more, and expires_at, when the URLs die; as in a completion.`
