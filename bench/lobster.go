package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// originalLobster is where the tests with other people's programs install it.
const originalLobster = "interop/js/node_modules/.bin/lobster"

// measureLobster measures the shell beside the original where that is
// installed, in turns.
func measureLobster(ctx context.Context, p plan) (err error) {
	folder, err := os.MkdirTemp("", "lobster-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	ours, err := build(ctx, folder, "lobster")
	if err != nil {
		return err
	}
	programs := []contender{{"ours", ours}}
	if _, err := os.Stat(originalLobster); err == nil {
		programs = append(programs, contender{"the original", originalLobster})
	} else {
		fmt.Println("lobster: the original is not installed (npm ci in interop/js), so ours is measured alone")
	}
	tasks, err := lobsterTasks(folder)
	if err != nil {
		return err
	}
	for _, task := range tasks {
		task.rounds = min(3*p.rounds, task.rounds)
		with := programs
		if task.floor {
			with = append([]contender{{"true", "true"}}, programs...)
		}
		if err := compare(ctx, folder, task, with); err != nil {
			return err
		}
	}
	return nil
}

// contender is a program under a name for the table.
type contender struct{ name, path string }

// lobsterTask is one row of the comparison.
type lobsterTask struct {
	name   string
	args   []string
	rounds int  // at most
	floor  bool // measured beside a program that does nothing
	fails  bool // the original cannot do it: its failure is a figure, too
}

// lobsterTasks writes the input and returns what is measured with it.
func lobsterTasks(folder string) ([]lobsterTask, error) {
	items, loop, short := filepath.Join(folder, "items.json"), filepath.Join(folder, "loop.yaml"), filepath.Join(folder, "short.yaml")
	err := errors.Join(writeItems(items, 100_000), os.WriteFile(loop, loopFile(10_000), 0o600), os.WriteFile(short, loopFile(100), 0o600))
	load := fmt.Sprintf("exec --json 'cat %s' | ", items)
	return []lobsterTask{
		{name: "lobster version", args: []string{"version"}, rounds: 15, floor: true},
		{name: "where, sort, head of 100,000", args: []string{load + "where 'n>500' | sort --key n | head --n 3"}, rounds: 15},
		{name: "head of 100,000", args: []string{load + "head --n 1"}, rounds: 9},
		{name: "pick, 100,000 printed", args: []string{load + "pick id,name"}, rounds: 5},
		{name: "groupBy of 100,000", args: []string{load + "groupBy --key n | pick key,count"}, rounds: 5},
		{name: "template, 100,000 printed", args: []string{load + "template --text '{{name | upper}} ({{n}})'"}, rounds: 5},
		{name: "for_each over 100", args: []string{"run", short}, rounds: 5},
		{name: "for_each over 10,000", args: []string{"run", loop}, rounds: 3},
		{name: "exec yes | head --n 1", args: []string{"exec yes | head --n 1"}, rounds: 1, fails: true},
	}, err
}

// loopFile is a workflow that goes through a list of so many numbers.
func loopFile(rounds int) []byte {
	return fmt.Appendf(nil, `steps:
- id: list
  run: printf '[%%s]' "$(seq -s , %d)"
- id: each
  for_each: $list.json
  steps:
  - {id: one, pipeline: "map --wrap n", stdin: $item.json}
- {id: last, run: "true"}
`, rounds)
}

// writeItems writes a list of n objects piece by piece: what bench itself has held counts as the peak of the programs that it starts.
func writeItems(path string, n int) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	separator := "["
	for i := range n {
		fmt.Fprintf(w, `%s{"id":%d,"n":%d,"name":"item %d","tags":["a","b"]}`, separator, i, i*7919%1000, i)
		separator = ","
	}
	_, _ = w.WriteString("]") // Flush tells
	return w.Flush()
}

// compare runs each program in turns and prints medians.
func compare(ctx context.Context, folder string, task lobsterTask, programs []contender) error {
	wall, cpu := make([][]time.Duration, len(programs)), make([][]time.Duration, len(programs))
	peak := make([]float64, len(programs)) // MiB, at least what bench itself takes
	failed := make([]string, len(programs))
	for range task.rounds {
		for i, program := range programs {
			cmd := exec.CommandContext(ctx, program.path, task.args...)
			cmd.Env = append(os.Environ(), "LOBSTER_STATE_DIR="+folder)
			began := time.Now()
			if err := cmd.Run(); err != nil && !task.fails {
				return fmt.Errorf("%s %q: %w", program.path, task.args, err)
			} else if err != nil {
				failed[i] = ", failed: " + err.Error()
			}
			wall[i] = append(wall[i], time.Since(began))
			cpu[i] = append(cpu[i], cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
			peak[i] = max(peak[i], peakMemory(cmd.ProcessState))
		}
	}
	for i, program := range programs {
		fmt.Printf("%-34s %-13s %12s wall %12s CPU %8.1f MiB%s\n", task.name, program.name, round(median(wall[i])), round(median(cpu[i])), peak[i], failed[i])
	}
	return nil
}
