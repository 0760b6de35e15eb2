package gitlabjobs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocumentedCodeCompiles builds every Go block of README and docs: a whole
// file as it is, a fragment as the body of a function.
func TestDocumentedCodeCompiles(t *testing.T) {
	t.Parallel()
	root, err := os.Getwd()
	require.NoError(t, err)
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	pages = append(pages, "README.md", "CONTRIBUTING.md")

	dir := t.TempDir()
	blocks := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for i, match := range goBlock.FindAllStringSubmatch(string(text), -1) {
			blocks++
			name := fmt.Sprintf("%s-%d", strings.TrimSuffix(filepath.Base(page), ".md"), i+1)
			require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name, "block.go"), []byte(wholeFile(match[1])), 0o644))
		}
	}
	require.NotZero(t, blocks)

	sums, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(
		"module docs\ngo 1.25\nrequire github.com/gitlabjobs/gitlabjobs v0.0.0\nreplace github.com/gitlabjobs/gitlabjobs => "+root+"\n"), 0o644))
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-gcflags=-e", "./...")
	build.Dir = dir
	output, err := build.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// imports are the packages that fragments use, by the name they use.
var imports = map[string]string{
	"context": "context", "errors": "errors", "fmt": "fmt", "fs": "io/fs", "http": "net/http", "io": "io", "os": "os",
	"slog": "log/slog", "strings": "strings", "testing": "testing", "time": "time",
	"gitlabjobs": "github.com/gitlabjobs/gitlabjobs",
	"joblog":     "github.com/gitlabjobs/gitlabjobs/joblog",
	"jobstest":   "github.com/gitlabjobs/gitlabjobs/jobstest",
}

// wholeFile makes a file of a fragment, which may use the names that programs
// have at hand where they call this package.
func wholeFile(code string) string {
	if strings.HasPrefix(code, "package ") {
		return code
	}
	var file strings.Builder
	file.WriteString("package block\n\nimport (\n\t\"context\"\n")
	for name, path := range imports {
		if name != "context" && name != "gitlabjobs" && regexp.MustCompile(`\b`+name+`\.[A-Z]`).MatchString(code) {
			fmt.Fprintf(&file, "\t%q\n", path)
		}
	}
	file.WriteString("\t\"github.com/gitlabjobs/gitlabjobs\"\n)\n\n")
	// A fragment that makes one of these names for itself shadows it.
	file.WriteString("func _(ctx context.Context, client *gitlabjobs.Client, project gitlabjobs.ProjectID, jobID, pipelineID int64) error {\n\t{\n")
	file.WriteString(code)
	for _, name := range []string{"client"} {
		if strings.Contains(code, name+", err := ") {
			file.WriteString("\t_ = " + name + "\n")
		}
	}
	file.WriteString("\t}\n\treturn nil\n}\n")
	return file.String()
}
