// Command peers holds the ends of the conversations whose certificates the operator looks after, as OpenChoreo's
// cluster gateway, cluster agent and controller manager behave towards TLS (and in nothing else), and Go's own
// certificate verification.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const usage = `usage:
  peers gateway --port=N --server-cert=F --server-key=F --kubeconfig=F [flags]
  peers agent --server-url=URL --plane-type=T --plane-id=ID --client-cert=F --client-key=F --server-ca=F [flags]
  peers manager [--webhook-port=N --webhook-cert-dir=D] [--cluster-gateway-url=URL --cluster-gateway-ca-cert=F] [flags]
  peers verify --roots=F --chain=F --usage=server|client [--dns=NAME] [--ip=IP] [--time=RFC3339] [--key=F]
  peers verify --batch < requests.jsonl
Each takes --help.`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	commands := map[string]func([]string) error{"gateway": runGateway, "agent": runAgent, "manager": runManager,
		"verify": runVerify}
	command, ok := commands[os.Args[1]]
	if !ok {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	if err := command(os.Args[2:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// parseTolerantly parses flags and passes over those it does not know: the real gateway and agent have more of them.
func parseTolerantly(flags *flag.FlagSet, args []string) error {
	var known []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if !strings.HasPrefix(arg, "-") {
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		found := flags.Lookup(name)
		isHelp := name == "help" || name == "h"
		if found != nil || isHelp {
			known = append(known, arg)
		}
		if hasValue || isHelp || (found != nil && isBool(found)) {
			continue
		}
		// `--name value`: the value goes where its flag goes.
		if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			i++
			if found != nil {
				known = append(known, args[i])
			}
		}
	}
	return flags.Parse(known)
}

func isBool(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

func newLogger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// stopSignal is closed on SIGTERM, SIGINT and SIGHUP (which reloads nothing and ends the real ones, too) and,
// where asked, when standard input closes.
func stopSignal(stdin bool) <-chan struct{} {
	stop := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	closed := make(chan struct{})
	if stdin {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(closed)
		}()
	}
	go func() {
		select {
		case <-signals:
		case <-closed:
		}
		close(stop)
	}()
	return stop
}
