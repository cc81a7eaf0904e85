package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/catalog"
	"github.com/streamspace/streamspace/models"
)

func newTemplates(streams Streams) *cobra.Command {
	caller := &caller{streams: streams}
	command := &cobra.Command{
		Use: "templates", Aliases: []string{"template"}, Short: "See and change what can be launched", GroupID: groupUse,
		Args: noArguments, RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	caller.bind(command)
	command.AddCommand(listTemplates(caller), showTemplate(caller), validateTemplates(caller), applyTemplates(caller), deleteTemplates(caller),
		printSchema(streams))
	return command
}

func listTemplates(caller *caller) *cobra.Command {
	return &cobra.Command{
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
					rows = append(rows, []string{template.Name, template.DisplayName, string(template.Protocol), string(template.Source), availability(template)})
				}
				return table(w, []string{"NAME", "TITLE", "SHOWS", "SOURCE", "AVAILABLE"}, rows)
			})
		},
	}
}

func showTemplate(caller *caller) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Print all of a template, as YAML that can be applied, or as JSON", Args: arguments("template", 1, 1),
		ValidArgsFunction: caller.completeTemplates,
		RunE: func(command *cobra.Command, args []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			template, err := api.TemplateManifest(command.Context(), args[0])
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.show(template, func(w io.Writer) error {
				if _, err := w.Write(catalog.Write(template)); err != nil {
					return fmt.Errorf("write output: %w", err)
				}
				return nil
			})
		},
	}
}

// filesHelp says what FILE may be.
const filesHelp = "FILE is a YAML file, which may hold several templates, or a directory of such files."

func validateTemplates(caller *caller) *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE…", Short: "Check templates on this machine, and say what is wrong where",
		Long:    "Checks templates as the control plane does, on this machine alone, and tells every mistake with file, line and field.\n" + filesHelp,
		Example: "  streamspace templates validate paint.yaml\n  streamspace templates validate ./templates",
		Args:    arguments("file", 1, math.MaxInt),
		RunE: func(command *cobra.Command, args []string) error {
			if err := settle(command, command.Flags(), caller.streams, func() error { return caller.configuration.Validate() }); err != nil {
				return err
			}
			templates, problems := catalog.LoadFiles(args)
			err := caller.show(checked(templates, problems), func(w io.Writer) error {
				for _, template := range templates {
					if _, err := fmt.Fprintf(w, "%s is right\n", template.Metadata.Name); err != nil {
						return fmt.Errorf("write output: %w", err)
					}
				}
				return nil
			})
			return errors.Join(err, wrongTemplates(problems))
		},
	}
}

// check is what validate says to programs.
type check struct {
	Right    []string       `json:"right"`
	Mistakes []checkMistake `json:"mistakes"`
}

type checkMistake struct {
	File     string `json:"file,omitempty"`
	Template string `json:"template,omitempty"`
	Line     int    `json:"line,omitempty"`
	Field    string `json:"field,omitempty"`
	Message  string `json:"message"`
}

func checked(templates []models.Template, problems []error) check {
	found := check{Right: []string{}, Mistakes: []checkMistake{}}
	for _, template := range templates {
		found.Right = append(found.Right, template.Metadata.Name)
	}
	for _, problem := range problems {
		var invalid *catalog.Invalid
		if !errors.As(problem, &invalid) {
			found.Mistakes = append(found.Mistakes, checkMistake{Message: problem.Error()})
			continue
		}
		for _, wrong := range invalid.Mistakes {
			found.Mistakes = append(found.Mistakes, checkMistake{File: invalid.File, Template: invalid.Template, Line: wrong.Line, Field: wrong.Field, Message: wrong.Message})
		}
	}
	return found
}

// wrongTemplates tells each mistake on a line of its own, as compilers do.
func wrongTemplates(problems []error) error {
	var told []string
	for _, wrong := range checked(nil, problems).Mistakes {
		if wrong.File == "" {
			told = append(told, wrong.Message)
			continue
		}
		told = append(told, fmt.Sprintf("%s:%d: %s", wrong.File, wrong.Line, strings.TrimSpace(wrong.Field+" "+wrong.Message)))
	}
	if len(told) == 0 {
		return nil
	}
	return errors.New("not every template is right\n" + strings.Join(told, "\n"))
}

func applyTemplates(caller *caller) *cobra.Command {
	return &cobra.Command{
		Use: "apply FILE…", Short: "Have the control plane keep templates, in place of any others of their names",
		Long: "Stores templates in the control plane's database, for admins. They count before those of its files and those that are built in,\n" +
			"until they are deleted. Sessions that run keep theirs. If one template is wrong, none is applied. " + filesHelp,
		Example: "  streamspace templates apply paint.yaml\n  streamspace templates show desktop > mine.yaml   # change it, then\n  streamspace templates apply mine.yaml",
		Args:    arguments("file", 1, math.MaxInt),
		RunE: func(command *cobra.Command, args []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			templates, problems := catalog.LoadFiles(args)
			if err := wrongTemplates(problems); err != nil {
				return err
			}
			applied := []client.Template{}
			for _, template := range templates {
				one, err := api.ApplyTemplate(command.Context(), template)
				if err != nil {
					return fmt.Errorf("apply template %s: %w", template.Metadata.Name, caller.explain(command.Context(), err))
				}
				applied = append(applied, one)
				if !caller.json() {
					if _, err := fmt.Fprintf(caller.streams.Out, "Template %s is applied. Available: %s\n", one.Name, plain(availability(one))); err != nil {
						return fmt.Errorf("write output: %w", err)
					}
				}
			}
			return caller.show(applied, func(io.Writer) error { return nil })
		},
	}
}

func deleteTemplates(caller *caller) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a template that was applied", Args: arguments("template", 1, 1),
		Long:              "Deletes a template that was applied, for admins. Sessions that run keep it. A template of its name that is of a file or built in counts again.",
		ValidArgsFunction: caller.completeTemplates,
		RunE: func(command *cobra.Command, args []string) error {
			api, err := caller.connect(command)
			if err != nil {
				return err
			}
			deleted, err := api.DeleteTemplate(command.Context(), args[0])
			if err != nil {
				return caller.explain(command.Context(), err)
			}
			return caller.show(deleted, func(w io.Writer) error {
				said := fmt.Sprintf("Template %s is deleted.", deleted.Name)
				if deleted.Uncovered != "" {
					said += fmt.Sprintf(" Its name means a template again whose source is %s.", deleted.Uncovered)
				}
				_, err := fmt.Fprintln(w, said)
				return err
			})
		},
	}
}

func printSchema(streams Streams) *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of templates, for editors", Args: noArguments,
		Long:    "Prints the JSON Schema of templates. An editor that knows it completes fields and marks mistakes.",
		Example: "  streamspace templates schema > template.schema.json",
		RunE: func(*cobra.Command, []string) error {
			if _, err := streams.Out.Write(catalog.Schema()); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
			return nil
		},
	}
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
