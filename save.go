package gitlabjobs

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// SaveOptions are the options of [JobsService.SaveArtifacts].
type SaveOptions struct {
	DownloadOptions
	Parallel    int         // ranges fetched side by side; the default is 1
	KeepPartial bool        // keep what has come when a save fails, for a later one to go on; the default is to leave nothing
	Mode        fs.FileMode // the file's permissions; the default is 0o666 less the umask
}

// SaveArtifacts saves an archive as a file: whole or not at all. It is written
// to a temporary file beside filename, verified as by
// [JobsService.DownloadArtifacts], synced and renamed. Where that fails,
// nothing is left behind, and a file that was there before stays as it was.
//
// With KeepPartial, what has come is left as filename.part, with a record of
// it in filename.part.json, even if the process is killed. A later save with
// KeepPartial goes on from there, if the server still has the same content,
// and else starts anew. Nothing is kept of content without an ETag or a time of
// its last change, nor after [ErrContentChanged], [ErrChecksumMismatch],
// [ErrTooLarge] and [ErrUnexpectedContent]. Of saves of one file at the same
// time the first has the part; the others keep nothing.
//
// With Parallel above 1, ranges of a larger archive are fetched at the same
// time, where the server does ranges. Memory stays constant.
//
// A bad filename is an error before any request, and so is a directory that is
// missing or can't be written to. Errors of the file system are in the chain.
//
// Endpoints: GET /projects/:id/jobs/:job_id/artifacts,
// GET /projects/:id/jobs/artifacts/:ref_name/download
//
// GitLab docs: https://docs.gitlab.com/api/job_artifacts/
func (s *JobsService) SaveArtifacts(ctx context.Context, project ProjectID, from ArtifactsSource, filename string, opts *SaveOptions) (*Download, error) {
	o := valueOf(opts)
	if err := o.validate(); err != nil {
		return nil, err
	}
	cl, err := from.archive(project, o.FileType)
	if err != nil {
		return nil, err
	}
	if ctx == nil {
		return nil, errNilContext
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kind := archiveKind(o.FileType)
	content, err := newStream(ctx, s.client, cl, kind.check)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	file, err := newPartial(filename, content.url, o.Mode, o.KeepPartial)
	if err != nil {
		return nil, err
	}
	t := newTransfer(content, kind, o.DownloadOptions)
	defer t.digester.close()
	save := &saving{content: content, file: file, transfer: t, parallel: o.Parallel, cancel: cancel}
	return save.run(o.Mode)
}

func (o *SaveOptions) validate() error {
	switch {
	case o.Parallel < 0:
		return errors.New("gitlabjobs: Parallel is negative")
	case o.Mode&^fs.ModePerm != 0:
		return fmt.Errorf("gitlabjobs: Mode %v has more than permissions", o.Mode)
	}
	return o.DownloadOptions.validate()
}

// A saving is one save under way.
type saving struct {
	content  *stream
	file     *partial
	transfer *transfer
	parallel int
	cancel   context.CancelFunc
}

func (s *saving) run(mode fs.FileMode) (*Download, error) {
	if s.file.kept {
		if err := s.resume(); err != nil {
			s.file.close() // another time
			return nil, err
		}
	}
	s.transfer.checkpoint = s.checkpoint
	d, err := s.transfer.end(s.fetch())
	if err == nil {
		err = s.file.publish(s.transfer.written, mode)
	} else {
		s.giveUp(err)
	}
	return d, err
}

// resume makes the download go on where an earlier save has left the part.
func (s *saving) resume() error {
	t, content := s.transfer, s.content
	r, good, err := s.file.load(t.digester, func() error {
		if content.ctx.Err() != nil {
			return content.fail(content.ctx.Err())
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !good {
		return s.discard()
	}
	t.written = r.Kept
	content.offset, content.total, content.validator = r.Kept, r.Total, r.Validator
	content.discard = s.discard
	return nil
}

// discard starts anew.
func (s *saving) discard() error {
	s.transfer.digester.reset()
	s.transfer.written = 0
	return s.file.clear()
}

// checkpoint has what has come written to the disk, and records now and then
// what of a part is good, for the case that the process is killed.
func (s *saving) checkpoint(state sourceState) error {
	s.file.syncAhead(s.transfer.written)
	if !s.file.kept || state.validator == "" || !s.file.due(s.transfer.written) {
		return nil
	}
	return s.file.keep(s.record(state))
}

func (s *saving) record(state sourceState) record {
	return record{
		Validator: state.validator,
		Total:     state.total,
		Kept:      s.transfer.written,
		SHA256:    hex.EncodeToString(s.transfer.digester.sum()),
	}
}

// fetch gets the content into the file.
func (s *saving) fetch() error {
	if err := s.content.start(); err != nil {
		return err
	}
	if err := s.transfer.checkSize(s.content.total); err != nil {
		return err
	}
	if s.parallel > 1 && divisible(s.content) {
		if err := s.fetchSideBySide(); err != nil {
			return err
		}
	}
	return s.transfer.run(s.content, &partWriter{s.file, s.transfer.written})
}

// fetchSideBySide gets as much of the content as can be had by ranges. The
// transfer follows the part of it that has no gaps.
func (s *saving) fetchSideBySide() error {
	ranges := startParallel(s.content, s.file, s.parallel)
	err := s.transfer.run(ranges, io.Discard)
	if err != nil {
		s.cancel() // nobody has to wait for what comes
	}
	ranges.stop(s.transfer.written)
	return err
}

// giveUp keeps what is worth it for a later save, and nothing else.
func (s *saving) giveUp(err error) {
	state := s.content.state()
	if s.file.kept && s.transfer.written > 0 && state.validator != "" && !spoils(err) {
		if s.file.keep(s.record(state)) == nil {
			s.file.close()
			return
		}
	}
	s.file.remove()
}

// spoils reports whether an error says that going on later is of no use.
func spoils(err error) bool {
	for _, target := range []error{ErrContentChanged, ErrChecksumMismatch, ErrTooLarge, ErrUnexpectedContent, errWrongRange} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
