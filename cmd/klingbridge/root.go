package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/config"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// program is what a command may touch of the process it runs in.
type program struct {
	environ        map[string]string
	stdin          io.Reader
	stdout, stderr io.Writer
	log            *besideLive // to stderr

	started bool // the arguments were in order, so an error is no longer one of usage
}

// usageError is wrong usage that only shows once a command looks at its arguments.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errSilent fails a command that has already said why.
var errSilent = errors.New("already reported")

// run is the whole program: it returns the exit code.
func run(
	ctx context.Context, args []string, environ map[string]string, stdin io.Reader, stdout, stderr io.Writer,
) int {
	environ, err := withCredentials(environ)
	if err != nil {
		fmt.Fprintf(stderr, "klingbridge: %v\n", err)
		return exitUsage
	}
	p := newProgram(environ, stdin, stdout, stderr)
	p.log.journal = isJournal(stderr, environ[journalStream])
	defer p.log.flush() // of a panic, too
	root := p.rootCommand()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	p.log.flush() // before what is said of the error
	return p.exitCode(cmd, err)
}

func newProgram(environ map[string]string, stdin io.Reader, stdout, stderr io.Writer) *program {
	if _, ok := stderr.(*oneAtATime); !ok {
		stderr = &oneAtATime{w: stderr}
	}
	return &program{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr, log: newBesideLive(stderr)}
}

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "klingbridge",
		Short: "A bridge between NATS JetStream and the Kling AI video API",
		Long: "klingbridge turns messages on NATS subjects into tasks of the Kling AI video API, and what becomes of each\n" +
			"task into exactly one completion event.",
		RunE:             p.needsCommand,
		Version:          thisBuild().Version,
		SilenceErrors:    true,
		SilenceUsage:     true,
		PersistentPreRun: func(*cobra.Command, []string) { p.started = true },
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetVersionTemplate(thisBuild().String())
	root.SetHelpCommand(helpCommand())
	root.SetFlagErrorFunc(flagError)
	p.addCommands(root)
	strict(root)
	return root
}

// addCommands adds all commands, in the groups that help lists them in.
func (p *program) addCommands(root *cobra.Command) {
	for _, group := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"run", "Run:", []*cobra.Command{p.serveCommand(), p.devCommand(), p.demoCommand(), p.simCommand()}},
		{"requests", "Requests:", []*cobra.Command{
			p.submitCommand(), p.tryCommand(), p.kindsCommand(), p.callCommand(), p.watchCommand(), p.forwardCommand(), p.taskCommand(), p.deadCommand(),
		}},
		{"operate", "Operate:", []*cobra.Command{p.statusCommand(), p.doctorCommand(), p.healthcheckCommand(), p.versionCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: group.id, Title: group.title})
		for _, cmd := range group.commands {
			cmd.GroupID = group.id
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(environmentTopic())
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Args, cmd.RunE = noSuchCommand, p.needsCommand
		}
	}
}

// needsCommand is what a command does that only groups others: it prints its help, as wrong usage.
func (p *program) needsCommand(cmd *cobra.Command, _ []string) error {
	cmd.SetOut(p.stderr)
	if err := cmd.Help(); err != nil {
		return err
	}
	return usageError{errSilent}
}

const helpName = "help"

// helpCommand is cobra's, except that an unknown topic is wrong usage.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   helpName + " [command]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("there is no help about %q", strings.Join(args, " "))
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}

// environmentTopic is a help topic: every variable, with its default.
func environmentTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("klingbridge is configured by its environment.\n\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, v := range config.Variables() {
		fmt.Fprintf(w, "  %s\t%s\n", v.Name, v.Help)
		if v.Default != "" {
			fmt.Fprintf(w, "  \tdefault: %s\n", v.Default)
		}
	}
	_ = w.Flush() // into memory
	b.WriteString("\nThe standard OTEL_* variables are obeyed; without an endpoint nothing is exported.")
	return &cobra.Command{Use: "environment", Short: "The variables and their defaults", Long: b.String()}
}

// helpfulCommand is the one whose help tells more: not that of help itself.
func helpfulCommand(cmd *cobra.Command) *cobra.Command {
	if cmd.Name() == helpName {
		return cmd.Root()
	}
	return cmd
}

func (p *program) exitCode(cmd *cobra.Command, err error) int {
	if err == nil {
		return exitDone
	}
	_, usage := errors.AsType[usageError](err)
	faults, misconfigured := errors.AsType[config.Faults](err)
	switch {
	case errors.Is(err, errSilent):
	case misconfigured:
		p.giveUp("%v\ntry: klingbridge help environment\n", faults)
	case usage || !p.started:
		p.giveUp("klingbridge: %v\ntry: %s --help\n", err, helpfulCommand(cmd).CommandPath())
	default:
		p.giveUp("klingbridge: %v\n", err)
	}
	if usage || misconfigured || !p.started {
		return exitUsage
	}
	return exitFailed
}
