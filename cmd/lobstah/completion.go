package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"lobstah/grid/allow"
	"lobstah/grid/discover"
	"lobstah/internal/cli"
	"lobstah/internal/cmdline"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is printed by --help.
func (completionCommand) Help() string {
	return `Examples:
  bash   source <(lobstah completion bash)              in ~/.bashrc
  zsh    source <(lobstah completion zsh)               in ~/.zshrc, after compinit
  fish   lobstah completion fish > ~/.config/fish/completions/lobstah.fish`
}

// The scripts ask the program itself, so they never grow old. Each line of the
// answer is a word, a tab and what it means.
var completionScripts = map[string]string{
	"bash": `_lobstah() {
  local IFS=$'\n'
  COMPREPLY=($(lobstah __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
  if [ ${#COMPREPLY[@]} -eq 0 ]; then compopt -o default; fi
}
complete -F _lobstah lobstah
`,
	"zsh": `#compdef lobstah
_lobstah() {
  local -a found
  local word meaning
  while IFS=$'\t' read -r word meaning; do
    found+=("${word//:/\\:}:${meaning}")
  done < <(lobstah __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( ${#found} )); then _describe 'lobstah' found; else _files; fi
}
compdef _lobstah lobstah
`,
	"fish": `function __lobstah_complete
  set -l words (commandline -opc) (commandline -ct)
  lobstah __complete $words[2..-1] 2>/dev/null
end
complete -c lobstah -f -a '(__lobstah_complete)'
`,
}

func (c *completionCommand) Run(a *app) error {
	fmt.Fprint(a.Out, completionScripts[c.Shell])
	return nil
}

type completeCommand struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run prints what the last word can become.
func (c *completeCommand) Run(_ context.Context, a *app) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	last := ""
	if len(words) > 0 {
		words, last = words[:len(words)-1], words[len(words)-1]
	}
	for _, candidate := range a.candidates(words, last) {
		if strings.HasPrefix(candidate[0], last) {
			a.say("%s\t%s", cli.CleanLine(candidate[0]), cli.CleanLine(candidate[1]))
		}
	}
	return nil
}

// candidates are pairs of a word and its meaning.
func (a *app) candidates(words []string, last string) (list [][2]string) {
	node := a.parser.Model.Node
	for _, word := range words {
		i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
		if i >= 0 {
			node = node.Children[i]
		}
	}
	if strings.HasPrefix(last, "-") {
		for _, flag := range cmdline.Flags(node) {
			list = append(list, [2]string{"--" + flag.Name, flag.Help})
		}
		return list
	}
	for _, n := range node.Children {
		if !n.Hidden {
			list = append(list, [2]string{n.Name, n.Help})
		}
	}
	return append(list, a.wordsFor(node)...)
}

// wordsFor completes the arguments that this machine knows.
func (a *app) wordsFor(node *kong.Node) (list [][2]string) {
	switch cmdline.Path(node) {
	case "peers remove", "peers revoke":
		peers, err := discover.Read(a.home.Peers)
		if err != nil {
			return nil
		}
		for _, p := range peers {
			list = append(list, [2]string{p.ID.String(), p.Name()})
		}
	case "allow remove":
		entries, err := allow.Read(a.home.Allow)
		if err != nil {
			return nil
		}
		for _, e := range entries {
			list = append(list, [2]string{e.ID.String(), e.Name()})
		}
	case "completion":
		for _, shell := range []string{"bash", "zsh", "fish"} {
			list = append(list, [2]string{shell, "a shell"})
		}
	}
	return list
}
