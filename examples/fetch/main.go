// Fetch gets the artifacts of a branch's or tag's newest successful job, or of
// one job: as an archive, unpacked, or one file of it.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/examples/internal/command"
)

const help = `fetch [flags]

Gets the artifacts of the job -job in the newest successful pipeline of -ref, or
of the job with the ID -id. A broken connection is resumed; what came before an
interruption is kept, and the same command goes on there. The archive is checked
against the checksum that newer GitLabs state, and against -sha256.

examples:
  fetch -project group/app -ref v1.2.0 -job package                 into artifacts.zip
  fetch -project group/app -ref main -job package -o app.zip -parallel 4
  fetch -project group/app -ref main -job package -extract dist     unpacked into dist
  fetch -project group/app -id 4711 -file dist/README.md -o -       one file, to standard output

In a CI job, CI_JOB_TOKEN says who, and CI_PROJECT_ID which project:

  script: fetch -ref main -job package -extract dist`

func main() { command.Main("fetch", run) }

// A fetcher is what the command line asks for.
type fetcher struct {
	*command.GitLab
	env            *command.Env
	from           gitlabjobs.ArtifactsSource
	name           string // of what is fetched, for people
	output, sha256 string
	parallel       int
	overwrite      bool
}

func run(ctx context.Context, env *command.Env, args []string) error {
	flags := command.Flags(help)
	target := command.AddTarget(flags)
	f := &fetcher{env: env}
	ref := flags.String("ref", "", "the `branch or tag`; default: CI_DEFAULT_BRANCH")
	job := flags.String("job", "", "the `name` of the job in the newest successful pipeline of -ref")
	id := flags.Int64("id", 0, "the `ID` of the job, in place of -ref and -job")
	recent := flags.Bool("recent", false, "look into older successful pipelines where the newest has no such artifacts")
	file := flags.String("file", "", "fetch only the file of this `path` in the archive")
	dir := flags.String("extract", "", "unpack into this `directory`")
	flags.StringVar(&f.output, "o", "", "the `file` to write, - for standard output; default: artifacts.zip, or the name of -file")
	flags.IntVar(&f.parallel, "parallel", 1, "fetch so many `ranges` of the archive side by side")
	flags.StringVar(&f.sha256, "sha256", "", "the `digest` that the archive or file must have, in hex")
	flags.BoolVar(&f.overwrite, "overwrite", false, "let -extract replace files that exist; -o always does")
	if err := env.Parse(flags, args, 0); err != nil {
		return err
	}
	switch {
	case *dir != "" && (*file != "" || f.output != "" || f.sha256 != "" || f.parallel != 1):
		return command.Usagef("-extract doesn't go with -file, -o, -sha256 and -parallel")
	case *file != "" && f.parallel != 1:
		return command.Usagef("-parallel is for archives, not for -file")
	case f.parallel < 1:
		return command.Usagef("-parallel %d fetches nothing", f.parallel)
	case *id != 0 && (*job != "" || *ref != "" || *recent):
		return command.Usagef("-id names the job already: it doesn't go with -ref, -job and -recent")
	}
	var err error
	if f.GitLab, err = env.Connect(target); err != nil {
		return err
	}
	if err := f.find(*id, *ref, *job, *recent); err != nil {
		return err
	}
	switch {
	case *dir != "":
		return f.extract(ctx, *dir)
	case *file != "":
		f.name, f.output = *file, cmp.Or(f.output, path.Base(*file))
		return f.file(ctx, *file)
	case f.output == "-":
		return f.stream(ctx)
	}
	f.output = cmp.Or(f.output, "artifacts.zip")
	return f.save(ctx)
}

// find says whose artifacts are meant.
func (f *fetcher) find(id int64, ref, job string, recent bool) error {
	if id != 0 {
		f.from, f.name = gitlabjobs.FromJob(id), fmt.Sprintf("the artifacts of job %d", id)
		return nil
	}
	if f.Demo != nil {
		ref, job = cmp.Or(ref, "main"), cmp.Or(job, f.Demo.Manual.Name())
	}
	ref = cmp.Or(ref, os.Getenv("CI_DEFAULT_BRANCH"))
	if ref == "" || job == "" {
		return command.Usagef("whose artifacts? Say -ref and -job, or -id")
	}
	f.from, f.name = gitlabjobs.FromRef(ref, job), fmt.Sprintf("the artifacts of %s on %s", job, ref)
	if recent {
		f.from = f.from.SearchRecent()
	}
	return nil
}

// save saves the archive as a file.
func (f *fetcher) save(ctx context.Context) error {
	bar := newBar(f.env.Stderr, filepath.Base(f.output))
	opts := &gitlabjobs.SaveOptions{Parallel: f.parallel, KeepPartial: true}
	opts.Progress, opts.SHA256 = bar.show, f.sha256
	got, err := f.Jobs.SaveArtifacts(ctx, f.Project, f.from, f.output, opts)
	bar.finish()
	if err != nil {
		if part, statErr := os.Stat(f.output + ".part"); statErr == nil {
			fmt.Fprintf(f.env.Stderr, "%s have come and are kept in %s: run this again to go on there.\n", humanize.IBytes(uint64(part.Size())), part.Name())
		}
		return err
	}
	f.report(f.env.Stdout, got, bar.took())
	return nil
}

// stream writes the archive to standard output.
func (f *fetcher) stream(ctx context.Context) error {
	bar := newBar(f.env.Stderr, f.name)
	got, err := f.Jobs.DownloadArtifacts(ctx, f.Project, f.from, f.env.Stdout, &gitlabjobs.DownloadOptions{Progress: bar.show, SHA256: f.sha256})
	bar.finish()
	if err != nil {
		return err
	}
	f.report(f.env.Stderr, got, bar.took())
	return nil
}

// file fetches one file of the archive, to a file whole or not at all.
func (f *fetcher) file(ctx context.Context, name string) error {
	if f.output == "-" {
		return f.copyFile(ctx, name, f.env.Stdout, f.env.Stderr)
	}
	temporary, err := os.CreateTemp(filepath.Dir(f.output), ".fetch-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name()) // which fails once it was renamed
	err = f.copyFile(ctx, name, temporary, f.env.Stdout)
	if err := errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), f.output)
}

func (f *fetcher) copyFile(ctx context.Context, name string, w, info io.Writer) error {
	bar := newBar(f.env.Stderr, name)
	got, err := f.Jobs.DownloadArtifactFile(ctx, f.Project, f.from, name, w, &gitlabjobs.DownloadOptions{Progress: bar.show, SHA256: f.sha256})
	bar.finish()
	if err != nil {
		return err
	}
	f.report(info, got, bar.took())
	return nil
}

// extract unpacks the archive.
func (f *fetcher) extract(ctx context.Context, dir string) error {
	bar := newBar(f.env.Stderr, dir)
	got, err := f.Jobs.ExtractArtifacts(ctx, f.Project, f.from, dir, &gitlabjobs.ExtractOptions{Progress: bar.show, Overwrite: f.overwrite})
	bar.finish()
	if err != nil {
		return err
	}
	fmt.Fprintf(f.env.Stdout, "Unpacked %s into %s: %d files, %s, in %s.\n", f.name, dir, got.Files, humanize.IBytes(uint64(got.Bytes)), bar.took())
	for _, name := range got.Skipped {
		fmt.Fprintf(f.env.Stdout, "Left out %s, which is no file.\n", name)
	}
	return nil
}

// report says what was fetched, and whether it is known to be the right thing.
func (f *fetcher) report(out io.Writer, got *gitlabjobs.Download, took time.Duration) {
	where := ""
	if f.output != "-" {
		where = " as " + f.output
	}
	fmt.Fprintf(out, "Fetched %s%s: %s in %s", f.name, where, humanize.IBytes(uint64(got.Size)), took)
	if got.Resumes > 0 {
		fmt.Fprintf(out, ", resumed %dx", got.Resumes)
	}
	fmt.Fprintf(out, ".\nSHA-256 %s", got.SHA256)
	switch {
	case f.sha256 != "":
		fmt.Fprintln(out, ", as expected.")
	case got.Verified:
		fmt.Fprintln(out, ", as GitLab states.")
	default:
		fmt.Fprintln(out, ": compare it, since GitLab states none.")
	}
}
