// Apilist prints the exported API of packages, one line for each name, field
// and method, so that a change of it shows in a diff.
//
//	apilist -dir .. ./joblog ./jobstest . >api.txt
package main

import (
	"flag"
	"fmt"
	"go/types"
	"os"
	"slices"

	"golang.org/x/tools/go/packages"
)

func main() {
	dir := flag.String("dir", ".", "the module's `directory`")
	flag.Parse()
	lines, err := list(*dir, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "apilist:", err)
		os.Exit(1)
	}
	for _, line := range lines {
		fmt.Println(line)
	}
}

func list(dir string, patterns []string) ([]string, error) {
	mode := packages.NeedName | packages.NeedTypes | packages.NeedImports | packages.NeedDeps | packages.NeedSyntax | packages.NeedTypesInfo
	loaded, err := packages.Load(&packages.Config{Dir: dir, Mode: mode}, patterns...)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, pkg := range loaded {
		for _, problem := range pkg.Errors {
			return nil, problem
		}
		scope := pkg.Types.Scope()
		for _, name := range scope.Names() {
			if object := scope.Lookup(name); object.Exported() {
				lines = append(lines, describe(pkg.Types, object)...)
			}
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// describe returns the lines of one exported name of a package.
func describe(pkg *types.Package, object types.Object) []string {
	qualify := types.RelativeTo(pkg)
	at := "pkg " + pkg.Path() + ", "
	typeName, ok := object.(*types.TypeName)
	if !ok {
		line := types.ObjectString(object, qualify)
		if constant, ok := object.(*types.Const); ok {
			line += " = " + constant.Val().ExactString()
		}
		return []string{at + line}
	}
	named, ok := typeName.Type().(*types.Named)
	if !ok {
		return []string{at + types.ObjectString(object, qualify)}
	}
	head := "type " + typeName.Name()
	var lines []string
	if fields, ok := named.Underlying().(*types.Struct); ok {
		lines = append(lines, at+head+" struct")
		for field := range fields.Fields() {
			if field.Exported() {
				lines = append(lines, at+head+" struct, "+types.ObjectString(field, qualify))
			}
		}
	} else {
		lines = append(lines, at+head+" "+types.TypeString(named.Underlying(), qualify))
	}
	for method := range named.Methods() {
		if method.Exported() {
			lines = append(lines, at+types.ObjectString(method, qualify))
		}
	}
	return lines
}
