package main

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"lobstah/grid"
	"lobstah/internal/cli"
	"lobstah/internal/config"
	"lobstah/internal/livefile"
)

// settings is every setting of the program. A command has the groups that it
// needs. The name in the setting tag is the one in config.yaml; in capitals,
// with LOBSTAH_ before it and underscores in it, it is the variable. A flag
// counts more than the variable, that more than the file, that more than the
// default.
type settings struct {
	Router  routerAddress   `embed:""`
	Worker  workerAddress   `embed:"" prefix:"worker-"`
	Asking  askingSettings  `embed:""`
	Serving servingSettings `embed:""`
	Engines engineSettings  `embed:""`
	Process processSettings `embed:""`
	Tracker trackerSettings `embed:"" prefix:"tracker-"`

	Announce  announceSettings  `embed:""`
	Discovery discoverySettings `embed:""`
	Nostr     nostrSettings     `embed:""`
	Mesh      meshSettings      `embed:""`
}

type routerAddress struct {
	Host string `setting:"router.host" default:"127.0.0.1" placeholder:"ADDR" help:"Address on which the router listens."`
	Port int    `setting:"router.port" default:"17475" placeholder:"N" help:"Port of the router; 0 takes a free one."`
}

type workerAddress struct {
	Host string `setting:"worker.host" default:"127.0.0.1" placeholder:"ADDR" help:"Address on which the worker listens; 0.0.0.0 is every one."`
	Port int    `setting:"worker.port" default:"17474" placeholder:"N" help:"Port of the worker; 0 takes a free one."`
}

// askingSettings are the router's.
type askingSettings struct {
	APIKey       []string `setting:"router.api-keys" name:"api-key" placeholder:"KEY" help:"Clients of the router have to show this key; repeatable. Without any, whoever reaches the port may ask."`
	AllowHost    []string `setting:"router.allow-hosts" placeholder:"NAME" help:"The router also answers to this host name; repeatable."`
	AllowOrigin  []string `setting:"router.allow-origins" placeholder:"URL" help:"Web pages from here may use the router; repeatable."`
	AnyDigest    bool     `setting:"router.any-digest" help:"A failover may go to other weights of the same name."`
	Timeout      timeouts `embed:""`
	BatchDisk    int      `setting:"router.batch-disk" default:"16" placeholder:"GIB" help:"How much of the disk the files of batches may take, in GiB."`
	BlockPrivate bool     `setting:"block-private-addrs" name:"block-private-addrs" help:"Peers that strangers named may not be in private networks either."`
}

// timeouts bound the waits of one request.
type timeouts struct {
	Connect   time.Duration `setting:"router.connect-timeout" name:"connect-timeout" default:"10s" placeholder:"TIME" help:"How long connecting to a peer may take; then the next one is asked."`
	FirstByte time.Duration `setting:"router.first-byte-timeout" name:"first-byte-timeout" default:"5m" placeholder:"TIME" help:"How long a stream may take to begin; loading a model takes long."`
	Idle      time.Duration `setting:"router.idle-timeout" name:"idle-timeout" default:"2m" placeholder:"TIME" help:"How long a stream that has begun may be silent."`
	Answer    time.Duration `setting:"router.answer-timeout" name:"answer-timeout" default:"15m" placeholder:"TIME" help:"How long an answer that is no stream may take."`
	Total     time.Duration `setting:"router.total-timeout" name:"total-timeout" default:"1h" placeholder:"TIME" help:"How long a request may take with all peers that are tried."`
}

// servingSettings are the worker's.
type servingSettings struct {
	Tier        grid.Tier `setting:"worker.tier" default:"best-effort" enum:"interactive,batch,best-effort" placeholder:"TIER" help:"What the worker is meant for: interactive, batch or best-effort."`
	Concurrency int       `setting:"worker.concurrency" default:"1" placeholder:"N" help:"Answers at a time."`
	Queue       int       `setting:"worker.queue" default:"64" placeholder:"N" help:"Requests that may wait; more are refused."`
	Credit      int64     `setting:"worker.credit" default:"0" placeholder:"TOKENS" help:"How much an allowed peer may owe; 0 is no limit."`
	Open        bool      `setting:"worker.open" help:"Serve strangers too, each within 10,000 tokens."`
}

// check refuses numbers that mean nothing.
func (s servingSettings) check() error {
	switch {
	case s.Concurrency < 1:
		return cli.Usagef("--concurrency %d: want at least 1", s.Concurrency)
	case s.Queue < 0:
		return cli.Usagef("--queue %d: want 0 or more", s.Queue)
	case s.Credit < 0:
		return cli.Usagef("--credit %d: want 0, which is no limit, or more", s.Credit)
	}
	return nil
}

type engineSettings struct {
	Engine      []string `setting:"engine" placeholder:"auto|demo|URL" help:"The engine to serve; repeatable. auto looks for engines on this machine and is the default."`
	EnginePorts []int    `setting:"engine-ports" default:"11434,8080,1234,8000" placeholder:"N,..." help:"Ports of this machine at which auto looks, beside OLLAMA_HOST."`
	EngineKey   string   `setting:"engine-key" placeholder:"KEY" help:"Key that engines other than Ollama ask for; the variable keeps it out of the process list."`
	Model       []string `setting:"model" placeholder:"FILE.gguf|hf:REPO" help:"Run llama-server with this model, and serve that; repeatable."`
	LlamaServer string   `setting:"llama-server" placeholder:"PATH" help:"The llama-server to run; by default the one on PATH."`
}

type processSettings struct {
	DrainTimeout time.Duration `setting:"drain-timeout" default:"0s" placeholder:"TIME" help:"How long stopping waits for running answers, such as 30s; 0 is without limit."`
	LogLevel     string        `setting:"log.level" default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"Least important line of the log: debug, info, warn or error."`
	LogJSON      bool          `setting:"log.json" help:"Log lines in JSON."`
}

// clientSettings are those of commands that ask a router.
type clientSettings struct {
	Router string `setting:"router-url" placeholder:"URL" help:"The router to ask; by default the one that runs here."`
	APIKey string `setting:"api-key" placeholder:"KEY" help:"Key that the router asks for, if it asks for one."`
}

// A source says where a value in force comes from.
type source struct {
	kind string // flag, variable, file or default
	name string // --port, LOBSTAH_ROUTER_PORT, config.yaml line 3
}

func (s source) String() string {
	if s.name == "" {
		return s.kind
	}
	return s.kind + " " + s.name
}

// sources is the kong resolver that looks settings up in the environment and
// the file, and remembers where it found them.
type sources struct {
	app   *app
	file  map[string]config.Value // read when first needed
	read  bool
	found map[string]source
	fail  error // what went wrong; the parser adds to it what does not belong there
}

func variable(setting string) string {
	return "LOBSTAH_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(setting))
}

// Validate implements kong.Resolver.
func (s *sources) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver; it is asked for flags that were not given.
func (s *sources) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	name := flag.Tag.Get("setting")
	if name == "" {
		return nil, nil
	}
	value, err := s.resolve(flag, name)
	s.fail = err
	return value, err
}

func (s *sources) resolve(flag *kong.Flag, name string) (any, error) {
	if text := s.app.Getenv(variable(name)); text != "" {
		return s.take(flag, name, []string{text}, source{"variable", variable(name)})
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	v, ok := s.file[name]
	if !ok {
		return nil, nil
	}
	if v.List && !flag.IsSlice() {
		return nil, s.fault(v, fmt.Errorf("%s: want one value, not a list", name))
	}
	value, err := s.take(flag, name, v.Texts, source{"file", fmt.Sprintf("%s, line %d", s.app.home.Config, v.Line)})
	if err != nil {
		return nil, s.fault(v, err)
	}
	return value, nil
}

// first returns the first value of a setting that the command has no flag for.
func (s *sources) first(name string) (string, error) {
	if text := s.app.Getenv(variable(name)); text != "" {
		return strings.Split(text, ",")[0], nil
	}
	if err := s.load(); err != nil || len(s.file[name].Texts) == 0 {
		return "", err
	}
	return s.file[name].Texts[0], nil
}

func (s *sources) fault(v config.Value, err error) error {
	return fmt.Errorf("settings file %w", &livefile.DamagedError{Path: s.app.home.Config, Line: v.Line, Err: err})
}

// take checks that the flag can have these values.
func (s *sources) take(flag *kong.Flag, name string, texts []string, from source) (any, error) {
	trial := reflect.New(flag.Target.Type()).Elem()
	var value any = texts[0]
	if flag.IsSlice() {
		list := make([]any, len(texts))
		for i, text := range texts {
			list[i] = text
		}
		if value = list; from.kind == "variable" {
			value = texts[0] // split at commas, as on the command line
		}
	}
	err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: kong.Scan().PushTyped(value, kong.FlagValueToken)}, trial)
	if err == nil && flag.Enum != "" && !flag.EnumMap()[fmt.Sprint(trial)] {
		err = fmt.Errorf("%q is not one of %s", texts[0], strings.ReplaceAll(flag.Enum, ",", ", "))
	}
	switch {
	case err != nil && from.kind == "variable":
		return nil, cli.Usagef("%s: %v", from.name, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if s.found == nil {
		s.found = map[string]source{}
	}
	s.found[name] = from
	return value, nil
}

// load reads the settings file once.
func (s *sources) load() error {
	if s.read {
		return nil
	}
	s.read = true
	names := settingNames()
	var err error
	s.file, err = config.Read(s.app.home.Config, names)
	if unknown, ok := errors.AsType[*config.UnknownError](err); ok {
		if near := cli.Nearest(unknown.Name, names); len(near) > 0 {
			return cli.Hintf(err, "did you mean: %s", strings.Join(near, ", "))
		}
		return cli.Hintf(err, "lobstah config lists the settings")
	}
	return err
}

// settingNames lists the names in the order of the declarations.
func settingNames() []string {
	var names []string
	for _, group := range []any{settings{}, clientSettings{}} {
		names = append(names, namesOf(reflect.TypeOf(group))...)
	}
	return names
}

func namesOf(t reflect.Type) []string {
	var names []string
	for f := range t.Fields() {
		if name := f.Tag.Get("setting"); name != "" {
			names = append(names, name)
		} else if f.Type.Kind() == reflect.Struct {
			names = append(names, namesOf(f.Type)...)
		}
	}
	return names
}
