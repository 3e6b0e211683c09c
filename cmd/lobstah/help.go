package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

const intro = `lobstah pools machines that can run language models. Lend what yours can do, ask
the others through one address that speaks OpenAI's API, and see from signed
receipts who owes whom.
`

const firstSteps = `
Try it:
  lobstah up                            serve what runs here; prints what to do next
  lobstah ask "why is the sky blue?"    ask, in another terminal
  lobstah demo two                      watch two machines lend to each other

Files are in ~/.lobstah; LOBSTAH_HOME names another folder. Every command
explains itself: lobstah COMMAND --help
`

// printHelp is kong's help printer: what a command does, how it is typed,
// examples, flags.
func printHelp(_ kong.HelpOptions, ctx *kong.Context) error {
	node := ctx.Selected()
	w := ctx.Stdout
	if node == nil {
		fmt.Fprint(w, intro)
		fmt.Fprintln(w, "\nUsage: lobstah COMMAND [flags]")
		printCommands(w, ctx.Model.Node)
		fmt.Fprint(w, firstSteps)
		return nil
	}
	fmt.Fprintln(w, node.Help)
	if !node.Leaf() {
		fmt.Fprintf(w, "\nUsage: lobstah %s COMMAND [flags]\n", path(node))
		printCommands(w, node)
	}
	if node.Leaf() {
		fmt.Fprintf(w, "\nUsage: lobstah %s\n", usage(node))
	}
	if node.Detail != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(node.Detail))
	}
	if node.Leaf() {
		printFlags(w, node)
	}
	return nil
}

// usage is the line that is typed.
func usage(node *kong.Node) string {
	var line strings.Builder
	line.WriteString(path(node))
	for _, p := range node.Positional {
		line.WriteString(" " + p.Summary())
	}
	return line.String() + " [flags]"
}

// printCommands lists a node's commands under the headings of their groups.
func printCommands(w io.Writer, node *kong.Node) {
	last := ""
	for _, n := range node.Children {
		if n.Hidden {
			continue
		}
		heading := "Commands"
		if n.Group != nil {
			heading = n.Group.Title
		}
		if heading != last {
			fmt.Fprintf(w, "\n%s:\n", heading)
			last = heading
		}
		fmt.Fprintf(w, "  %-12s%s\n", n.Name, n.Help)
	}
}

// printFlags lists the flags of a command with their defaults and settings.
func printFlags(w io.Writer, node *kong.Node) {
	const textColumn, width = 26, 100
	anySetting := false
	fmt.Fprintln(w, "\nFlags:")
	for _, flag := range flagsOf(node) {
		left := "  " + flagName(flag)
		if len(left) >= textColumn {
			fmt.Fprintln(w, left)
			left = ""
		}
		text := flag.Help
		if flag.Name == "help" {
			text = "Print this."
		}
		if flag.HasDefault && flag.Default != "" && flag.Default != "0s" {
			text = strings.TrimSuffix(text, ".") + fmt.Sprintf(" (default %s).", flag.Default)
		}
		anySetting = anySetting || flag.Tag.Get("setting") != ""
		for _, line := range wrap(text, width-textColumn) {
			fmt.Fprintf(w, "%-*s%s\n", textColumn, left, line)
			left = ""
		}
	}
	if anySetting {
		fmt.Fprintln(w, "\nFlags can also be given as variables or in config.yaml: see lobstah config.")
	}
}

// flagsOf lists what may be given to a command, --help last.
func flagsOf(node *kong.Node) []*kong.Flag {
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

func flagName(flag *kong.Flag) string {
	name := "--" + flag.Name
	if flag.Short != 0 {
		name = fmt.Sprintf("-%c, %s", flag.Short, name)
	}
	if !flag.IsBool() {
		name += " " + flag.PlaceHolder
	}
	return name
}

// wrap breaks text into lines of at most width bytes.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
