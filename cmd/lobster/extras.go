package main

func (p *program) check(args []string) int     { return exitUsage }
func (p *program) format(args []string) int    { return exitUsage }
func (p *program) approvals(args []string) int { return exitUsage }
func (p *program) log(args []string) int       { return exitUsage }
func (p *program) repl(args []string) int      { return exitUsage }
func (p *program) schema(args []string) int    { return exitUsage }
