// Command llama-server-install puts the llama-server that tests use in place, so that
// a machine can keep it between runs, and prints its path.
//
//	LOBSTAH_TEST_LLAMA_SERVER=$(go run ./internal/enginetest/cmd/llama-server-install)
package main

import (
	"fmt"
	"os"

	"lobstah/internal/enginetest"
)

func main() {
	path, err := enginetest.FindLlamaServer()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
