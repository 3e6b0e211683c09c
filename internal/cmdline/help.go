package cmdline

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// help is kong's help printer: what a command does, how it is typed, examples,
// arguments, flags.
func (p *Program) help(_ kong.HelpOptions, ctx *kong.Context) error {
	node := ctx.Selected()
	w := ctx.Stdout
	if node == nil {
		fmt.Fprint(w, p.Intro)
		fmt.Fprintf(w, "\nUsage: %s COMMAND [flags]\n", p.Name)
		printCommands(w, ctx.Model.Node)
		fmt.Fprint(w, p.Outro)
		return nil
	}
	fmt.Fprintln(w, node.Help)
	if !node.Leaf() {
		fmt.Fprintf(w, "\nUsage: %s %s COMMAND [flags]\n", p.Name, Path(node))
		printCommands(w, node)
	}
	if node.Leaf() {
		fmt.Fprintf(w, "\nUsage: %s %s\n", p.Name, usage(node))
	}
	if node.Detail != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(node.Detail))
	}
	if node.Leaf() {
		printArguments(w, node)
		p.printFlags(w, node)
	}
	return nil
}

// usage is the line that is typed.
func usage(node *kong.Node) string {
	var line strings.Builder
	line.WriteString(Path(node))
	for _, p := range node.Positional {
		line.WriteString(" " + p.Summary())
	}
	return line.String() + " [flags]"
}

// printCommands lists a node's commands under the headings of their groups.
func printCommands(w io.Writer, node *kong.Node) {
	last, width := "", 12
	for _, n := range node.Children {
		width = max(width, len(n.Name)+1)
	}
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
		fmt.Fprintf(w, "  %-*s%s\n", width, n.Name, n.Help)
	}
}

// printArguments lists the arguments of a command that need a word of their own.
func printArguments(w io.Writer, node *kong.Node) {
	heading := "\nArguments:\n"
	for _, argument := range node.Positional {
		if argument.Help != "" {
			fmt.Fprint(w, heading)
			printRow(w, argument.Summary(), argument.Help)
			heading = ""
		}
	}
}

// printFlags lists the flags of a command with their defaults and settings.
func (p *Program) printFlags(w io.Writer, node *kong.Node) {
	anySetting := false
	fmt.Fprintln(w, "\nFlags:")
	for _, flag := range Flags(node) {
		text := flag.Help
		if flag.Name == "help" {
			text = "Print this."
		}
		if flag.HasDefault && flag.Default != "" && flag.Default != "0s" {
			text = strings.TrimSuffix(text, ".") + fmt.Sprintf(" (default %s).", flag.Default)
		}
		anySetting = anySetting || flag.Tag.Get("setting") != ""
		printRow(w, flagName(flag), text)
	}
	if anySetting {
		fmt.Fprintln(w, "\n"+p.Note)
	}
}

// printRow prints a name and beside it, in as many lines as it takes, a text.
func printRow(w io.Writer, name, text string) {
	const textColumn, width = 26, 100
	left := "  " + name
	if len(left) >= textColumn {
		fmt.Fprintln(w, left)
		left = ""
	}
	for _, line := range wrap(text, width-textColumn) {
		fmt.Fprintf(w, "%-*s%s\n", textColumn, left, line)
		left = ""
	}
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
