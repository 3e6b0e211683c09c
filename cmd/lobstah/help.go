package main

import "lobstah/internal/cmdline"

// program is what --help says beside the commands.
var program = cmdline.Program{
	Name: "lobstah",
	Elsewhere: map[string]string{
		"serve": "up", "start": "up", "run": `ask "…"`, "chat": `ask "…"`, "models": "status", "list": "peers", "ls": "peers", "ps": "status",
		"kill": "stop", "logs": "up, which prints its log", "key": "id", "whoami": "id", "add": "peers add", "remove": "peers remove", "settings": "config",
	},
	Intro: `lobstah pools machines that can run language models. Lend what yours can do, ask
the others through one address that speaks OpenAI's API, and see from signed
receipts who owes whom.
`,
	Outro: `
Try it:
  lobstah up                            serve what runs here; prints what to do next
  lobstah ask "why is the sky blue?"    ask, in another terminal
  lobstah demo two                      watch two machines lend to each other

Files are in ~/.lobstah; LOBSTAH_HOME names another folder. Every command
explains itself: lobstah COMMAND --help
`,
	Note: "Flags can also be given as variables or in config.yaml: see lobstah config.",
}
