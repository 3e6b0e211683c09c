package stdlib

import (
	"bytes"
	"context"
	"strings"

	"lobstah/flow/interp"
	"lobstah/flow/value"
)

// ran is a process that has ended.
type ran struct {
	exit           interp.Exit
	stdout, stderr string
}

// program runs a process whose output is kept as a whole, each stream at most limit bytes (and LOBSTER_MAX_OUTPUT_BYTES).
func program(ctx context.Context, env *interp.Env, p *interp.Process, limit int64) (ran, error) {
	limit, err := env.LimitVar(outputLimitVar, limit)
	if err != nil {
		return ran{}, err
	}
	stdout, stderr := &limitedBuffer{limit: limit}, &limitedBuffer{limit: limit}
	p.Stdout, p.Stderr, p.Grace = stdout, stderr, interp.KillGrace
	exit, err := env.Start(ctx, p)
	return ran{exit: exit, stdout: value.Clean(stdout.String()), stderr: value.Clean(stderr.String())}, err
}

// programLimit caps what a process may print that is read as a whole.
const programLimit = 64 << 20

type limitedBuffer struct {
	bytes.Buffer
	limit int64
}

func (l *limitedBuffer) Write(b []byte) (int, error) {
	if int64(l.Len()+len(b)) > l.limit {
		return 0, &outputTooLarge{l.limit}
	}
	return l.Buffer.Write(b)
}

type outputTooLarge struct{ limit int64 }

func (e *outputTooLarge) Error() string { return outputLimitError(e.limit).Error() }

// script returns the words that run a program given by an environment variable: a JavaScript file needs node.
func script(path string) []string {
	for _, ext := range []string{".mjs", ".cjs", ".js", ".ts"} {
		if strings.HasSuffix(strings.ToLower(path), ext) {
			return []string{"node", path}
		}
	}
	return []string{path}
}
