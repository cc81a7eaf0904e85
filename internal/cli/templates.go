package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/client"
)

func newTemplates(streams Streams) *cobra.Command {
	caller := &caller{streams: streams}
	command := &cobra.Command{
		Use: "templates", Aliases: []string{"template"}, Short: "See what can be launched", GroupID: groupUse,
		Args: noArguments, RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	caller.bind(command)
	command.AddCommand(&cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the templates, and what is missing to launch them", Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			templates, err := all(0, func(page client.Page) (client.List[client.Template], error) {
				return api.Templates(command.Context(), page)
			})
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.show(templates, func(w io.Writer) error {
				if len(templates) == 0 {
					_, err := fmt.Fprintln(w, "There are no templates.")
					return err
				}
				var rows [][]string
				for _, template := range templates {
					rows = append(rows, []string{template.Name, template.DisplayName, string(template.Protocol), availability(template)})
				}
				return table(w, []string{"NAME", "TITLE", "SHOWS", "AVAILABLE"}, rows)
			})
		},
	})
	return command
}

// availability is yes, or why not and what to install.
func availability(template client.Template) string {
	if template.Available {
		return "yes"
	}
	said := "no"
	if template.Reason != "" {
		said += ": " + template.Reason
	}
	var install []string
	for _, need := range template.Missing {
		if need.Install != "" && !strings.Contains(template.Reason, need.Install) {
			install = append(install, need.Install)
		}
	}
	if len(install) > 0 {
		said += "; install: " + strings.Join(install, ", ")
	}
	return said
}
