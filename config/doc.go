// Package config is what a domain is told: one table of typed keys, the sources
// that they come from, and what they come to together.
//
// The table (Settings) is the only place where a key is defined. Parsing, what
// `xvsock config` shows and docs/configuration.md are made from it. The sources
// are, strongest first, what the toolstack wrote into xenstore (Nodes), the
// kernel's command line (CommandLine) or the flags of a daemon that is not PID
// 1, and the file /etc/xvsock.toml (File). Each only finds keys and values;
// Resolve checks them:
//
//	table := config.Settings(builtin)
//	line, problems, err := config.CommandLine(cmdline, guest)
//	file, more, err := config.File(config.FilePath)
//	c, rest := table.Resolve(line, file)
//
// What is wrong is a Problem, one line that says what and what would be right.
// It never ends the reading: the domain goes on with the default, or with what
// is left of a list, unless xvsock.strict says otherwise. No source may make
// this package panic or take more than a bounded amount of memory.
package config
