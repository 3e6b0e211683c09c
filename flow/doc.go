// Package flow is the workflow shell: pipelines of JSON values and workflow files that stop for a person's approval.
//
// [Open] returns a [Shell] with the real handlers; [Shell.Pipeline], [Shell.File] and [Shell.Resume] run something and say in an
// [Outcome] how it ended; [Shell.Waiting] lists what waits for a person. A program that embeds the shell replaces the handlers in Shell.Env
// by those that it wants to allow. Imported by cmd/lobster. Pipelines, files, tokens and answers are hostile.
//
// The phases, each a package that knows only those below it:
//
//	flow            the facade: run or resume a pipeline or a workflow file, and describe the outcome as an envelope
//	flow/workflow   workflow files: load, check, run step by step, pause, resume, graph
//	flow/stdlib     the standard commands, one file for each
//	flow/interp     runs a pipeline: stages, streams of values, handlers to the outside
//	flow/state      what is kept between processes: resume states, approval ids, keys, caches, the journal
//	flow/host       the real handlers: processes, terminal, clock, network
//	flow/filter     templates: {{title | truncate 40}}
//	flow/schema     checks values against JSON Schema
//	flow/format     the one form of workflow files
//	flow/syntax     the text of a pipeline, to tree and back
//	flow/value      JSON values with JavaScript's rules
//	flow/secret     keeps credentials out of journals and errors
//
// The joints: [interp.Env] is the world of a run (handlers, environment variables, working directory, commands); a workflow
// copies it for each step and runs the step's pipeline with [interp.Run], its shell text with [interp.Env.Shell] and
// [interp.Env.Start]. Everything that streams is an [interp.Seq]. A pause travels as [interp.Result.Halted] (a gate) or as an
// [*interp.Suspension] (a question); who runs the pipeline decides how it is kept.
package flow
