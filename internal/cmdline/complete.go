package cmdline

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"lobstah/internal/cli"
)

// The scripts ask the program itself, by its hidden command __complete, so they
// never grow old. Each line of the answer is a word, a tab and what it means. PROG
// stands for the program's name.
var completionScripts = map[string]string{
	// bash breaks words at : and @ and = too, and replaces only what is behind the last of them.
	"bash": `_PROG() {
  local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT} word
  local -a typed
  read -ra typed <<<"$line"
  [[ $line == *[[:space:]] ]] && typed+=("")
  word=${typed[${#typed[@]}-1]}
  IFS=$'\n'
  COMPREPLY=($(PROG __complete "${typed[@]:1}" 2>/dev/null | cut -f1))
  COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[:@=]}"}"}")
  if [ ${#COMPREPLY[@]} -eq 0 ]; then compopt -o default; fi
}
complete -F _PROG PROG
`,
	"zsh": `#compdef PROG
_PROG() {
  local -a found
  local word meaning
  while IFS=$'\t' read -r word meaning; do
    found+=("${word//:/\\:}:${meaning}")
  done < <(PROG __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( ${#found} )); then _describe 'PROG' found; else _files; fi
}
compdef _PROG PROG
`,
	"fish": `function __PROG_complete
  set -l words (commandline -opc) (commandline -ct)
  PROG __complete $words[2..-1] 2>/dev/null
end
complete -c PROG -f -a '(__PROG_complete)'
`,
}

// CompletionScript is what makes a shell complete the program's commands.
func (p *Program) CompletionScript(shell string) string {
	return strings.ReplaceAll(completionScripts[shell], "PROG", p.Name)
}

// CompletionHelp says how such a script is put to use.
func (p *Program) CompletionHelp() string {
	return strings.ReplaceAll(`Examples:
  bash   source <(PROG completion bash)              in ~/.bashrc
  zsh    source <(PROG completion zsh)               in ~/.zshrc, after compinit
  fish   PROG completion fish > ~/.config/fish/completions/PROG.fish`, "PROG", p.Name)
}

// A Word is what can be typed, and what it means.
type Word struct{ Text, Meaning string }

// A Place is where somebody asks what can be typed.
type Place struct {
	Command   *kong.Node
	Arguments []string // that stand before it, without flags
}

// Complete prints what the last of the typed words can become: commands, flags,
// values of flags, and what known says of the arguments at a place.
func Complete(w io.Writer, parser *kong.Kong, typed []string, known func(Place) []Word) {
	if len(typed) > 0 && typed[0] == "--" {
		typed = typed[1:]
	}
	last := ""
	if len(typed) > 0 {
		typed, last = typed[:len(typed)-1], typed[len(typed)-1]
	}
	place, open := walk(parser.Model.Node, typed)
	for _, word := range candidates(place, open, last, known) {
		if strings.HasPrefix(word.Text, last) {
			fmt.Fprintf(w, "%s\t%s\n", cli.CleanLine(word.Text), cli.CleanLine(word.Meaning))
		}
	}
}

// walk goes from the program along the typed words, and returns where that leads to
// and the flag whose value comes next, if the last word is one.
func walk(node *kong.Node, typed []string) (place Place, open *kong.Flag) {
	place.Command = node
	for _, word := range typed {
		child := slices.IndexFunc(place.Command.Children, func(n *kong.Node) bool { return n.Name == word })
		switch {
		case open != nil:
			open = nil
		case strings.HasPrefix(word, "-"):
			open = valued(place.Command, word)
		case child >= 0:
			place = Place{Command: place.Command.Children[child]}
		default:
			place.Arguments = append(place.Arguments, word)
		}
	}
	return place, open
}

// valued is the flag of this name when its value is the next word.
func valued(node *kong.Node, word string) *kong.Flag {
	for _, flag := range Flags(node) {
		if "--"+flag.Name == word && !flag.IsBool() {
			return flag
		}
	}
	return nil
}

func candidates(place Place, open *kong.Flag, last string, known func(Place) []Word) (list []Word) {
	switch {
	case open != nil:
		return values(open.Value)
	case strings.HasPrefix(last, "-"):
		for _, flag := range Flags(place.Command) {
			list = append(list, Word{"--" + flag.Name, flag.Help})
		}
		return list
	}
	for _, n := range place.Command.Children {
		if !n.Hidden {
			list = append(list, Word{n.Name, n.Help})
		}
	}
	if n := len(place.Arguments); n < len(place.Command.Positional) {
		list = append(list, values(place.Command.Positional[n])...)
	}
	return append(list, known(place)...)
}

// values are those that a flag or argument is limited to, none for any.
func values(v *kong.Value) (list []Word) {
	if v.Enum == "" {
		return nil
	}
	for _, text := range v.EnumSlice() {
		list = append(list, Word{Text: text})
	}
	return list
}
