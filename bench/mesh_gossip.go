package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"time"
)

var (
	restLine    = regexp.MustCompile(`(\d+) nodes at rest: (\d+) bytes per node and minute, at most (\d+)`)
	healingLine = regexp.MustCompile(`healing, (\S+): (\d+) bytes per node, at most (\d+)`)
)

// measureGossip runs the simulator of mesh/member, which lives in its tests: all
// nodes in one process and virtual time, with clocks that are wrong and messages
// that are lost.
func measureGossip(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", "^TestPartitionHeals$/^loss_0.1$", "lobstah/mesh/member")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("simulate the gossip: %w\n%s", err, out)
	}
	rest, healing := restLine.FindSubmatch(out), healingLine.FindSubmatch(out)
	if rest == nil || healing == nil {
		return fmt.Errorf("the simulator said nothing that is known here:\n%s", out)
	}
	took, err := time.ParseDuration(string(healing[1]))
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %s bytes a minute at rest, at most %s\n", fmt.Sprintf("gossip of %s nodes, each", rest[1]), rest[2], rest[3])
	fmt.Printf("%-34s %s with a tenth lost, %s bytes each   %s\n", "settled after a partition", took, healing[2], verdict("under 10 s", took < 10*time.Second))
	return nil
}
