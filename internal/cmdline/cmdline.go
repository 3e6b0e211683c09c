// Package cmdline is how the commands of a program are typed and explained: it
// wraps github.com/alecthomas/kong with the help that all programs here print,
// and with errors that say what was probably meant.
//
// Make a [Program], and with it the parser; look at commands with [Path] and
// [Flags]. [Complete] answers the shells that [Program.CompletionScript] prepared.
//
// Only cmd/ imports it. It knows no command. What is typed comes from the user,
// who is not hostile.
package cmdline

import (
	"errors"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"lobstah/internal/cli"
)

// A Program is what is said about all commands together.
type Program struct {
	Name  string
	Intro string // before the list of commands
	Outro string // after it
	Note  string // after the flags of commands that have one with a setting tag

	Elsewhere map[string]string // what similar programs call a command, and how it is typed here
}

// New makes the parser of a struct of commands.
func (p *Program) New(commands any, streams cli.IO, helped *bool, options ...kong.Option) (*kong.Kong, error) {
	return kong.New(commands, append(options,
		kong.Name(p.Name),
		kong.Writers(streams.Out, streams.Err),
		kong.Exit(func(int) { *helped = true }), // after --help, which has printed
		kong.Help(p.help),
	)...)
}

// Rewrite maps the other spellings of help and version onto commands.
func Rewrite(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "help":
		return append(args[1:len(args):len(args)], "--help")
	case args[0] == "--version" || args[0] == "-v":
		return []string{"version"}
	case args[0] == "--help" || args[0] == "-h":
		return []string{"--help"}
	}
	return args
}

// Misuse makes an error of the parser one that says what was meant.
func (p *Program) Misuse(parser *kong.Kong, args []string, err error) error {
	command := p.Name
	if e, ok := errors.AsType[*kong.ParseError](err); ok {
		if node := e.Context.Selected(); node != nil {
			if near := siblings(node, err); len(near) > 0 {
				return cli.Hintf(cli.Usagef("%v", err), "did you mean: %s %s", p.Name, strings.Join(near, ", "+p.Name+" "))
			}
			command += " " + Path(node)
		} else if unknown(parser, args[0]) {
			err := cli.Usagef("unknown command: %s", args[0])
			if here := p.Elsewhere[args[0]]; here != "" {
				return cli.Hintf(err, "that is here: %s %s", p.Name, here)
			}
			if near := cli.Nearest(args[0], names(parser)); len(near) > 0 {
				return cli.Hintf(err, "did you mean: %s %s", p.Name, strings.Join(near, ", "+p.Name+" "))
			}
			return cli.Hintf(err, "%s --help lists the commands", p.Name)
		}
	}
	return cli.Hintf(cli.Usagef("%v", err), "%s --help shows how it is used", command)
}

// siblings lists commands beside one that stands for its group, such as list for
// peers, that an argument which it does not take may mean.
func siblings(node *kong.Node, err error) (near []string) {
	argument, ok := strings.CutPrefix(err.Error(), "unexpected argument ")
	group := node.Parent
	if !ok || group == nil || group.DefaultCmd != node {
		return nil
	}
	var list []string
	for _, n := range group.Children {
		list = append(list, n.Name)
	}
	for _, name := range cli.Nearest(argument, list) {
		near = append(near, Path(group)+" "+name)
	}
	return near
}

func unknown(parser *kong.Kong, name string) bool {
	for _, n := range parser.Model.Children {
		if n.Name == name {
			return false
		}
	}
	return !strings.HasPrefix(name, "-")
}

func names(parser *kong.Kong) []string {
	var names []string
	for _, n := range parser.Model.Children {
		if !n.Hidden {
			names = append(names, n.Name)
		}
	}
	return names
}

// Path is how a command is typed, after the program's name.
func Path(node *kong.Node) string {
	var words []string
	for ; node != nil && node.Type == kong.CommandNode; node = node.Parent {
		words = append([]string{node.Name}, words...)
	}
	return strings.Join(words, " ")
}

// Flags lists what may be given to a command, --help last.
func Flags(node *kong.Node) []*kong.Flag {
	var list, help []*kong.Flag
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			if flag.Name == "help" {
				help = []*kong.Flag{flag}
			} else {
				list = append(list, flag)
			}
		}
	}
	return slices.Concat(list, help)
}
