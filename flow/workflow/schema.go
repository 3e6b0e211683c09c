package workflow

import _ "embed" // the schema is a file so that editors can be pointed at it

// Schema is the JSON Schema (draft-07) of workflow files, for editors: `# yaml-language-server: $schema=...` in a file, or the editor's settings.
// It accepts every file that runs; what it cannot express (unique ids, references), [Check] finds.
//
//go:embed schema.json
var Schema string
