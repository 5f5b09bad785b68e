package config

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Reference writes the reference page of the table in Markdown: what
// docs/configuration.md is.
func (t Table) Reference(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, referenceHead)
	t.referenceTable(b)
	for _, key := range t.keys {
		key.reference(b)
	}
	t.referenceServices(b)
	fmt.Fprint(b, referencePrograms, referenceTail)
	return b.Flush()
}

const referenceHead = `# Configuration

<!-- Made from the table in config/keys.go: go test ./config -run Reference -update -->

A domain is told what to do by a few keys. They come from three sources, strongest first:

| Source | Written as | By whom |
|---|---|---|
| xenstore | ` + "`/local/domain/N/xvsock/config/KEY`" + ` | the toolstack, with ` + "`xvsock config set`" + ` or its table of domains |
| the kernel's command line | ` + "`xvsock.KEY=VALUE`" + ` | the toolstack, in the configuration of the domain (` + "`extra`" + ` of xl) |
| ` + "`/etc/xvsock.toml`" + ` | ` + "`KEY = VALUE`" + ` | whoever makes the image |

A daemon that is not PID 1 (` + "`xvsock domain`, `xvsock backend`" + `) reads its flags, ` + "`--KEY VALUE`" + `, in place of the
command line.

- A key is taken whole from the strongest source that has a value for it that can be used. The values of a key
  that may repeat are never mixed from two sources.
- Where a key that may not repeat is given more than once in one source, the last one counts, and that is said.
- ` + "`xvsock config`" + ` shows every key with its value and the source that it came from.
- A value is text of at most 2048 bytes.

What is wrong (an unknown key, a value that does not fit, a file that is no TOML) is said in one line each, on the
console and to the toolstack, which finds it below ` + "`data/xvsock/problem`" + ` in the home of the domain. The domain goes
on with the default, or with what is left of a list, unless it is told to be [strict](#being-strict).

A domain reads its settings once, when it boots: the command line and the file first, the toolstack's as soon as
it has a xenstore. What was changed since holds from the next boot on.

## The sources

**xenstore.** The value of a key stands in its node. The values of a key that may repeat stand in nodes below it, in
the order of their names: ` + "`service/0000`, `service/0001`" + ` and so on; a single one may stand in the key's own node. The
nodes belong to domain 0, and the domain may read them. In ` + "`/etc/xvsock/domains.toml`" + ` the toolstack writes them as a
table of the domain, which ` + "`xvsock attach --watch`" + ` hands over as soon as it sees the domain:

` + "```toml" + `
[[domain]]
name = "keys"
[domain.config]
log = "debug"
service = ["echo", "kv:7000:exec-once:/bin/kv"]
` + "```" + `

A domain that boots does not wait for that. Mostly the watcher is sooner, but one that is late loses: the domain then
boots with its weaker settings, and what it was to be told holds from its next boot on, if the watcher is in time
there. What must not be missed goes into the command line or the image, or is written while the domain is paused:

` + "```" + `
xl create -p keys.cfg
xvsock config set keys log=debug service=kv:7000:exec-once:/bin/kv
xl unpause keys
` + "```" + `

A watcher that has a table for the domain replaces what was set by hand.

**Command line.** Words are split as the kernel does it: at blanks, unless they are in double quotes, which stand
around the whole value or the whole word. So an argument of a program that itself has blanks in it has to come from
another source. A program with arguments needs the quotes: the kernel takes the words behind it for its own or PID
1's, and nobody reads them. That is said if one of them begins with - or /, or has a blank in it; and so are a quote
that is not closed, and words like ` + "`xvsock_mode=backend`" + ` that lack the dot. A PV domain sees 1023 bytes of its command
line, others 2047; one that is as long was possibly cut, which is said.

**File.** TOML, with the keys at the top: strings, whole numbers and booleans, and arrays of them for keys that may
repeat. At most 32 KiB. Of a file with an error in its syntax nothing is taken.

`

// referenceTable writes one line for each key.
func (t Table) referenceTable(w io.Writer) {
	fmt.Fprint(w, "## The keys\n\n| Key | Value | Default | Repeats |\n|---|---|---|---|\n")
	for _, key := range t.keys {
		repeats := ""
		if key.Repeat {
			repeats = "yes"
		}
		fmt.Fprintf(w, "| [%s](#%s) | %s | %s | %s |\n", key.Name, key.Name, cell(key.Form), cell(key.Default), repeats)
	}
	fmt.Fprintln(w)
}

// cell is a text as code in a cell of a table; nothing for none.
func cell(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}

// reference writes the section of one key.
func (k Key) reference(w io.Writer) {
	fmt.Fprintf(w, "### %s\n\n%s\n\n```\n", k.Name, k.Help)
	for i, v := range k.Example {
		node := k.Name
		if k.Repeat {
			node = fmt.Sprintf("%s/%04d", k.Name, i)
		}
		fmt.Fprintf(w, "xenstore       /local/domain/N/xvsock/config/%s = %s\n", node, v)
	}
	quoted := make([]string, len(k.Example))
	words := make([]string, len(k.Example))
	for i, v := range k.Example {
		quoted[i], words[i] = `"`+v+`"`, Prefix+k.Name+"="+v
		if strings.Contains(v, " ") {
			words[i] = Prefix + k.Name + `="` + v + `"`
		}
	}
	value := quoted[0]
	if k.Repeat {
		value = "[" + strings.Join(quoted, ", ") + "]"
	}
	fmt.Fprintf(w, "command line   %s\n", strings.Join(words, " "))
	fmt.Fprintf(w, "xvsock.toml    %s = %s\n```\n\n", k.Name, value)
}

// referenceServices writes the section about the specs of services.
func (t Table) referenceServices(w io.Writer) {
	fmt.Fprint(w, referenceSpecs)
	for _, b := range t.builtin {
		when := "if it is named"
		if b.Always {
			when = "every domain"
		}
		fmt.Fprintf(w, "| %s | %d | %s |\n", b.Name, b.Port, when)
	}
	fmt.Fprint(w, referenceOptions)
}

const referenceSpecs = `## Specs of services

| Spec | What answers at the port |
|---|---|
| ` + "`NAME`, `NAME:PORT`" + ` | a service that is built in, on its well-known port or another |
| ` + "`NAME:PORT:exec[,OPTIONS]:/PATH ARGS`" + ` | a program, started for each connection, which is its stdin and stdout |
| ` + "`NAME:PORT:exec-once[,OPTIONS]:/PATH ARGS`" + ` | a program, started once, which gets a listening socket as file 3 (` + "`LISTEN_FDS`" + `, as from systemd) |
| ` + "`NAME:PORT:forward[,OPTIONS]:unix:/PATH`" + ` | whoever listens on a unix socket in the domain |
| ` + "`NAME:PORT:forward[,OPTIONS]:tcp:HOST:PORT`" + ` | whoever listens on a TCP port |

- A name is 1 to 15 of a-z, 0-9 and -, with a letter in it. Each name and each port may be given once.
- Ports 0 and 1 are reserved, 2 to 8 and those of the other built-in services are theirs alone, and from 3221225472
  up they are kept for outgoing connections. Peers may take ports below 1024 for well-known ones.
- A command is split at blanks; double quotes group, and there is no shell and no other quoting. What a program finds
  stands [below](#programs).
- The path of a unix socket has at most 107 bytes. There are at most 64 services.

Built in:

| Name | Port | Runs |
|---|---|---|
`

const referenceOptions = `
Options follow the kind, with a comma before each, as in ` + "`kv:7000:exec,max=8,uid=1000:/bin/kv`" + `:

| Option | Value | Default | |
|---|---|---|---|
| ` + "`max=N`" + ` | 1 to 1024 | 64 | connections at once |
| ` + "`per-domain=N`" + ` | 1 to max | 16, or max if that is less | of these, from one domain |
| ` + "`uid=N`, `gid=N`" + ` | 0 to 4294967294 | 0 | whom a program runs as; not for forward |

`

const referenceTail = `## Being strict

By default a domain with a mistake in its settings runs, as well as it can. With ` + "`strict=1`" + ` it does not: the boot
fails with the first problem, whichever source that is in, as soon as all sources were read, and the key
[panic](#panic) says what follows. As any other key, strict is taken from the strongest source that has it: a toolstack can tell
a strict image not to be.
`
