package gitlabjobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
)

// ExtractOptions are the options of [JobsService.ExtractArtifacts]. Its limits
// count what is really inflated, whatever the archive says.
type ExtractOptions struct {
	MaxBytes  int64          // of all files together; the default is 10 GiB
	MaxFiles  int            // entries of the archive, directories included; the default is 100,000
	MaxRatio  float64        // inflated to compressed bytes, of each file and of the archive; the default is 1,100
	Overwrite bool           // replace files that exist; the default is to fail
	Progress  func(Progress) // called at most every 100 ms, and once at the end; it counts inflated bytes
}

// An Extraction says what was extracted. Beside an error it says how far it came.
type Extraction struct {
	Files   int      // files and symlinks
	Bytes   int64    // of the files
	Skipped []string // the names of devices, sockets and pipes, which aren't made
}

const (
	defaultMaxBytes = 10 << 30
	defaultMaxFiles = 100_000
	defaultMaxRatio = 1_100   // DEFLATE can't honestly do more than about 1,032
	entryOverhead   = 1 << 10 // bytes of an archive for an entry's headers, on average at the most
)

// ExtractArtifacts extracts an archive into a directory, which it makes where
// it is missing. It downloads the archive to a file in [os.TempDir], once its
// list of entries has been looked at, and extracts what has come meanwhile. Each
// file is written under another name, checked and then renamed. File modes are
// those of the archive within 0o777 and the umask.
//
// Nothing outside of the directory is touched. An entry that would be is
// [ErrUnsafePath]: a name that is absolute, climbs or passes through a
// symlink, and a symlink that leads out of the directory or in circles. Other
// errors are [ErrTooLarge] beyond a limit, one that matches [io/fs.ErrExist]
// for a file that exists, unless Overwrite is set, [ErrUnexpectedContent] for
// what is no zip archive or a broken one, and [ErrChecksumMismatch]. They leave
// what was extracted before, and no part of a file. What the list of entries
// gives away already is refused before anything is written.
//
// Endpoints: GET /projects/:id/jobs/:job_id/artifacts,
// GET /projects/:id/jobs/artifacts/:ref_name/download
//
// GitLab docs: https://docs.gitlab.com/api/job_artifacts/
func (s *JobsService) ExtractArtifacts(ctx context.Context, project ProjectID, from ArtifactsSource, dir string, opts *ExtractOptions) (*Extraction, error) {
	o, err := valueOf(opts).withDefaults()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return nil, errors.New("gitlabjobs: the directory is empty")
	}
	cl, err := from.archive(project, "")
	if err != nil {
		return nil, err
	}
	content, err := newStream(ctx, s.client, cl, archiveContent.check)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	content.ctx = ctx
	x := &extractor{ctx: ctx, cancel: cancel, options: o, content: content, progress: newMeter(o.Progress)}
	defer x.close()
	if err := x.open(); err != nil {
		return x.result(), err
	}
	err = x.extract(dir)
	x.progress.end(x.state)
	return x.result(), err
}

func (o ExtractOptions) withDefaults() (ExtractOptions, error) {
	if o.MaxBytes < 0 || o.MaxFiles < 0 || o.MaxRatio < 0 || math.IsNaN(o.MaxRatio) {
		return o, errors.New("gitlabjobs: MaxBytes, MaxFiles or MaxRatio is negative, or no number")
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = defaultMaxFiles
	}
	if o.MaxRatio == 0 {
		o.MaxRatio = defaultMaxRatio
	}
	return o, nil
}

// maxArchive is how many bytes an archive within the limits has at most.
func (o *ExtractOptions) maxArchive() int64 {
	overhead := int64(math.MaxInt64)
	if int64(o.MaxFiles) < math.MaxInt64/entryOverhead-entryOverhead {
		overhead = (int64(o.MaxFiles) + entryOverhead) * entryOverhead
	}
	if overhead > math.MaxInt64-o.MaxBytes {
		return math.MaxInt64
	}
	return overhead + o.MaxBytes
}

// An extractor is one extraction under way.
type extractor struct {
	ctx       context.Context
	cancel    context.CancelCauseFunc
	options   ExtractOptions
	content   *stream
	spool     *spool
	filling   sync.WaitGroup
	directory *zipDirectory
	size      int64 // of the archive
	plan      extractPlan

	files    atomic.Int64
	inflated atomic.Int64 // bytes
	mu       sync.Mutex   // of what follows
	progress *meter
	failure  error // the first one
}

// open gets the archive's list of entries, and plans what to do. Where the
// server does ranges, nothing else is fetched before.
func (x *extractor) open() error {
	first, err := x.content.probe(blockSize)
	if err != nil {
		return err
	}
	if x.spool, err = newSpool(x.content, first); err != nil {
		return err
	}
	limit := x.options.maxArchive()
	if first == nil {
		if err := x.spool.fill(limit); err != nil {
			return err
		}
		x.size = x.spool.written
		if x.directory, err = findZipDirectory(x.spool, x.size); err != nil {
			return err
		}
		return x.makePlan()
	}
	x.size = x.content.total
	if x.size > limit {
		return x.content.fail(fmt.Errorf("%w: the archive exceeds %d bytes", ErrTooLarge, limit))
	}
	if err := x.fetchDirectory(newRangeReader(x.content, first)); err != nil {
		return err
	}
	if err := x.makePlan(); err != nil {
		return err
	}
	x.filling.Go(func() {
		if err := x.spool.fill(limit); err != nil {
			x.fail(err)
		}
	})
	return nil
}

// fetchDirectory puts the archive's list of entries into the spool, before
// what stands before it.
func (x *extractor) fetchDirectory(ranges *rangeReader) error {
	defer ranges.close() // it can't fail
	directory, err := findZipDirectory(ranges, x.size)
	if err != nil {
		return err
	}
	if err := x.checkCount(directory.records); err != nil {
		return err
	}
	list := io.NewSectionReader(ranges, directory.start, directory.end-directory.start)
	if err := x.spool.keep(list, directory.start); err != nil {
		return err
	}
	directory.r = x.spool
	x.directory = directory
	return nil
}

func (x *extractor) checkCount(entries int64) error {
	if entries > int64(x.options.MaxFiles) {
		return x.content.fail(fmt.Errorf("%w: the archive has more than %d entries", ErrTooLarge, x.options.MaxFiles))
	}
	return nil
}

// fail ends the extraction with its first error.
func (x *extractor) fail(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failure == nil {
		x.failure = err
		x.cancel(err)
	}
}

// close waits until nothing is under way, and removes the temporary file.
func (x *extractor) close() {
	x.cancel(nil)
	x.filling.Wait()
	x.content.Close() // it can't fail
	if x.spool != nil {
		x.spool.close() // nothing depends on it any more
	}
}

func (x *extractor) result() *Extraction {
	return &Extraction{Files: int(x.files.Load()), Bytes: x.inflated.Load(), Skipped: x.plan.skipped}
}

func (x *extractor) report() {
	if x.options.Progress == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.progress.report(x.state)
}

// state returns the progress made; the meter adds the time.
func (x *extractor) state() Progress {
	return Progress{Written: x.inflated.Load(), Total: x.plan.declared, Resumes: x.spool.resumed()}
}
