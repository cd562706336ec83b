// Command bench measures leptir beside other queues, in one run on one machine, with
// alternating rounds, and shows medians and ratios with their spread. See
// docs/performance.md for what came of it and how to repeat it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/backplane/leptir/bench/guard"
	"github.com/backplane/leptir/bench/peers"
	"github.com/backplane/leptir/bench/report"
	"github.com/backplane/leptir/bench/rig"
	"github.com/backplane/leptir/bench/suite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	pattern := flag.String("run", "", "measure only the cases whose name matches this `regexp`")
	quick := flag.Bool("quick", false, "one round of small sizes, to see whether it works: the figures mean nothing")
	rounds := flag.Int("rounds", 5, "how often each arm of a case is run, in turn")
	seed := flag.Uint64("seed", 1, "of what is drawn at random")
	who := flag.String("peers", "", "\"all\": also Celery and BullMQ, where they can be installed")
	out := flag.String("out", "", "keep the results in this `file`, beside those of other cases that it holds")
	show := flag.String("report", "", "measure nothing: make the table and the plot of docs/performance.md from this `file`")
	list := flag.Bool("list", false, "name the cases")
	limit := flag.Duration("timeout", 90*time.Minute, "the most time that all of it may take")
	guarding := flag.Bool("guard", false, "compare allocations and ratios with baseline.json")
	update := flag.Bool("update", false, "with -guard: write baseline.json anew")
	profile := flag.String("profile", "", "run no-op tasks through a host on this `backend` (redis, sqlite, mongodb) and write cpu.prof and allocs.prof")
	profiled := flag.Int("profile-tasks", 100000, "with -profile: how many")
	bytes := flag.Int("profile-bytes", 0, "with -profile: of how many bytes of parameters")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *limit, fmt.Errorf("not done within %v", *limit))
	defer cancel()
	switch {
	case *show != "":
		return report.Docs(*show)
	case *profile != "":
		return guard.Profile(ctx, *profile, ".", *profiled, *bytes)
	case *guarding:
		return guard.Run(ctx, os.Stdout, *update)
	}
	match, err := regexp.Compile(*pattern)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	var cases []suite.Case
	for _, c := range suite.Cases() {
		if match.MatchString(c.Name) {
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 {
		return fmt.Errorf("no case matches %q; -list names them", *pattern)
	}
	if *list {
		for _, c := range cases {
			fmt.Printf("%-16s %s\n", c.Name, c.Title)
		}
		return nil
	}
	o := suite.Options{Rounds: *rounds, Quick: *quick, Seed: *seed, Peers: map[string]bool{}, Out: os.Stdout}
	if *quick && *rounds == 5 {
		o.Rounds = 1
	}
	if *who == "all" {
		findPeers(ctx, o.Peers)
	} else if *who != "" {
		return fmt.Errorf("-peers is \"all\" or nothing, not %q", *who)
	}
	return measure(ctx, cases, o, *out)
}

func measure(ctx context.Context, cases []suite.Case, o suite.Options, out string) (err error) {
	r, err := rig.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	fmt.Printf("%s, commit %s, Redis %s; %d rounds, seed %d\n", rig.Machine(), rig.Commit(), r.RedisVersion(ctx), o.Rounds, o.Seed)
	var failed []string
	for _, c := range cases {
		fmt.Printf("\n%s: %s\n", c.Name, c.Title)
		res, err := suite.Run(ctx, r, c, o)
		if err != nil {
			return err
		}
		report.Print(os.Stdout, res)
		for _, a := range res.Arms {
			if a.Problem != "" {
				failed = append(failed, c.Name+"/"+a.Name)
			}
		}
		if out != "" {
			if err := report.Keep(out, res); err != nil {
				return err
			}
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}

// findPeers sees which of the other queues are there, and says why if one is not.
func findPeers(ctx context.Context, there map[string]bool) {
	version, err := peers.Celery(ctx)
	there[suite.Celery] = err == nil
	tell("Celery", version, err)
	_, version, err = peers.BullMQ(ctx)
	there[suite.BullMQ] = err == nil
	tell("BullMQ", version, err)
}

func tell(name, version string, err error) {
	if err != nil {
		fmt.Printf("%s is left out: %v\n", name, err)
		return
	}
	fmt.Printf("%s %s\n", name, version)
}
