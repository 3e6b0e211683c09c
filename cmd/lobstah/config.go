package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"lobstah/internal/cli"
	"lobstah/internal/cmdline"
	"lobstah/internal/home"
)

type configCommand struct {
	settings `embed:""`
	Client   struct {
		Router string `setting:"router-url" name:"router-url" placeholder:"URL" help:"The router that ask asks."`
		APIKey string `setting:"api-key" name:"client-api-key" placeholder:"KEY" help:"The key that ask shows."`
	} `embed:""`
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is printed by --help.
func (configCommand) Help() string {
	return `A flag counts more than a variable, a variable more than config.yaml, and that
more than the default. An empty variable counts as not set. In the file a dot
stands for a level:

  worker:
    host: 0.0.0.0
    concurrency: 2
  engine: [auto, "http://127.0.0.1:9000"]

Keys are shown as set or not set, never themselves.`
}

// A setting is one line of the command's output.
type setting struct {
	Name     string `json:"name"`
	Value    any    `json:"value"`
	Source   string `json:"source"`
	Variable string `json:"variable"`
	Help     string `json:"help"`
}

func (c *configCommand) Run(ctx *kong.Context, a *app) error {
	list := a.settings(ctx)
	if c.JSON {
		return a.json(map[string]any{"files": a.files(), "settings": list})
	}
	files := cli.Table{}
	files.Row("FILE", "PATH", "SOURCE")
	for _, f := range a.files() {
		files.Row(f.Name, f.Value.(string), f.Source)
	}
	table := cli.Table{}
	table.Row("SETTING", "VALUE", "SOURCE", "VARIABLE")
	for _, s := range list {
		table.Row(s.Name, text(s.Value), s.Source, s.Variable)
	}
	if err := files.Print(a.Out, ""); err != nil {
		return err
	}
	a.say("")
	return table.Print(a.Out, "")
}

func text(value any) string {
	if list, ok := value.([]string); ok {
		return strings.Join(list, ", ")
	}
	return fmt.Sprint(value)
}

// settings tells what is in force.
func (a *app) settings(ctx *kong.Context) []setting {
	given := map[*kong.Flag]bool{}
	for _, p := range ctx.Path {
		if p.Flag != nil && !p.Resolved {
			given[p.Flag] = true
		}
	}
	var list []setting
	for _, flag := range cmdline.Flags(ctx.Selected()) {
		name := flag.Tag.Get("setting")
		if name == "" {
			continue
		}
		s := setting{Name: name, Value: shown(flag), Source: "default", Variable: variable(name), Help: flag.Help}
		if from, ok := a.sources.found[name]; ok {
			s.Source = from.String()
		}
		if given[flag] {
			s.Source = "flag --" + flag.Name
		}
		list = append(list, s)
	}
	return list
}

// shown is a flag's value, unless it is a secret.
func shown(flag *kong.Flag) any {
	switch {
	case flag.Target.Type() == reflect.TypeFor[[]int]():
		return strings.Split(strings.Trim(fmt.Sprint(flag.Target), "[]"), " ")
	case strings.Contains(flag.Name, "key") && flag.Target.IsZero():
		return "not set"
	case strings.Contains(flag.Name, "key"):
		return "set"
	case flag.Name == "engine" && flag.Target.Len() == 0:
		return []string{"auto"}
	case flag.Target.Kind() == reflect.Slice && flag.Target.Len() == 0:
		return []string{}
	}
	if s, ok := flag.Target.Interface().(fmt.Stringer); ok {
		return s.String()
	}
	return flag.Target.Interface()
}

// files tells where the files are.
func (a *app) files() []setting {
	paths := []string{a.home.Dir, a.home.Identity, a.home.Peers, a.home.Allow, a.home.Invites, a.home.Ledger, a.home.Config}
	list := make([]setting, len(paths))
	for i, v := range home.Variables {
		list[i] = setting{Name: strings.ToLower(strings.TrimPrefix(v.Name, "LOBSTAH_")), Value: paths[i], Source: "default", Variable: v.Name, Help: v.Meaning}
		if a.Getenv(v.Name) != "" {
			list[i].Source = "variable " + v.Name
		}
	}
	return list
}
