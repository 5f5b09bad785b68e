package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"xvsock/config"
	"xvsock/services/control"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

// configCommand is `xvsock config`.
func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "config [DOMAIN]", Short: "Show what a domain was told, and by whom; check and write settings", Args: cobra.MaximumNArgs(1),
		Long: "config prints every setting of DOMAIN, or of this domain, with where its value came\n" +
			"from, and what was wrong with the settings. What there is to set, `config keys` says.",
	}
	output := outputFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		domain := "self"
		if len(args) == 1 {
			domain = args[0]
		}
		return a.showConfig(c, *output, domain)
	}
	c.AddCommand(a.configKeysCommand(), a.configCheckCommand(), a.configSetCommand())
	return c
}

// showConfig prints the settings of a domain.
func (a *app) showConfig(c *cobra.Command, output, domain string) error {
	all := control.Settings{}
	err := a.withControl(domain, func(d *control.Client) (err error) {
		all, err = d.Config(c.Context())
		return err
	})
	if err != nil {
		return err
	}
	all.Values, all.Problems = append([]control.Value{}, all.Values...), append([]string{}, all.Problems...)
	var rows [][]string
	for _, v := range all.Values {
		for _, value := range append(v.Values, make([]string, max(0, 1-len(v.Values)))...) {
			rows = append(rows, []string{v.Key, value, v.Origin})
		}
	}
	if err := printList(c.OutOrStdout(), output, all, []string{"KEY", "VALUE", "FROM"}, rows); err != nil || output == outputJSON {
		return err
	}
	for _, p := range all.Problems {
		fmt.Fprintln(c.OutOrStdout(), "problem:", printable(p))
	}
	return nil
}

// configKeysCommand is `xvsock config keys`.
func (a *app) configKeysCommand() *cobra.Command {
	return &cobra.Command{
		Use: "keys", Short: "Print the reference of all settings, in Markdown", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.table().Reference(c.OutOrStdout()) },
	}
}

// configCheckCommand is `xvsock config check`.
func (a *app) configCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check FILE", Short: "Check a file of settings before it goes into an image", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			source, problems, err := config.File(args[0])
			if err != nil {
				return &setupError{err}
			}
			_, more := a.table().Resolve(source)
			problems = append(problems, more...)
			for _, p := range problems {
				fmt.Fprintln(c.OutOrStdout(), p)
			}
			if len(problems) > 0 {
				return fmt.Errorf("%s: %d to mend", args[0], len(problems))
			}
			return nil
		},
	}
}

// configSetCommand is `xvsock config set`.
func (a *app) configSetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "set DOMAIN [KEY=VALUE]...", Short: "Write a domain's settings into xenstore (in the toolstack's domain)", Args: cobra.MinimumNArgs(1),
		Long: "set replaces what the toolstack tells DOMAIN (name, uuid or id), the strongest of its\n" +
			"settings. A key that may repeat is given several times. Without KEY=VALUE it takes back\n" +
			"what was told. A domain reads its settings once, at its boot, and a reboot forgets them:\n" +
			"create it with `xl create -p`, or write them into " + toolstack.TablePath + ",\n" +
			"from where `attach --watch` tells them at every boot.",
		Example: "  xl create -p kv.cfg && xvsock config set kv log=debug && xl unpause kv",
		RunE: func(c *cobra.Command, args []string) error {
			values, err := a.checkedSettings(args[1:])
			if err != nil {
				return &setupError{err}
			}
			return a.withStore(func(store *xenstore.Client) error {
				d, err := toolstack.Find(c.Context(), store, args[0])
				if err != nil {
					return err
				}
				return toolstack.SetConfig(c.Context(), store, d.ID, values)
			})
		},
	}
}

// checkedSettings reads KEY=VALUE words that the table takes.
func (a *app) checkedSettings(words []string) (map[string][]string, error) {
	values := make(map[string][]string)
	source := config.Source{Name: "command line"}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, fmt.Errorf("%.40q: write KEY=VALUE", word)
		}
		values[key] = append(values[key], value)
		source.Settings = append(source.Settings, config.Setting{Key: key, Value: value})
	}
	if _, problems := a.table().Resolve(source); len(problems) > 0 {
		return nil, errors.New(problems[0].String())
	}
	return values, nil
}
