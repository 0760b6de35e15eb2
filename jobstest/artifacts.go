package jobstest

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gitlabjobs/gitlabjobs"
)

func (c *call) getArchive() (reply, *failure) {
	j, f := c.findJob(false)
	if f != nil {
		return nil, f
	}
	if kind := c.params.Get("file_type"); kind != "" && kind != "archive" && c.s.version == Newest {
		return c.report(j, kind)
	}
	return c.archiveOf(j)
}

func (c *call) getRefArchive() (reply, *failure) {
	j, f := c.findJobByRef()
	if f != nil {
		return nil, f
	}
	return c.archiveOf(j)
}

// archiveOf sends a job's archive, from the disk or from the object store.
func (c *call) archiveOf(j *Job) (reply, *failure) {
	switch {
	case !j.hasArtifacts(c.now):
		return nil, notFound("")
	case c.s.fromStore && c.s.store.Proxied:
		return storedReply{archive: j.archive, proxied: true}, nil
	case c.s.fromStore:
		return redirectReply{status: http.StatusFound, location: c.s.signedLink(j, c.now)}, nil
	}
	return fileReply{j.archive}, nil
}

// report sends one of a job's report artifacts.
func (c *call) report(j *Job, kind string) (reply, *failure) {
	for _, r := range j.reports {
		if r.FileType == kind && !j.expired(c.now) {
			data := r.stored()
			return fileReply{&archive{
				reader: bytes.NewReader(data), size: int64(len(data)), name: r.filename(), modified: j.finished,
			}}, nil
		}
	}
	return nil, notFound("")
}

func (c *call) getFile() (reply, *failure) {
	j, f := c.findJob(false)
	if f != nil {
		return nil, f
	}
	return c.fileOf(j)
}

func (c *call) getRefFile() (reply, *failure) {
	j, f := c.findJobByRef()
	if f != nil {
		return nil, f
	}
	return c.fileOf(j)
}

func (c *call) fileOf(j *Job) (reply, *failure) {
	name := c.path["artifact_path"]
	switch {
	case strings.ContainsRune(name, 0) || !utf8.ValidString(name):
		return nil, c.badRequest("")
	case !j.hasArtifacts(c.now):
		return nil, notFound("")
	}
	return entryReply{archive: j.archive, path: name}, nil
}

// findJobByRef finds the job of that name in the newest successful pipeline
// of a branch or tag, or, where the request wants it, in the newest of them
// that has it.
func (c *call) findJobByRef() (*Job, *failure) {
	name := c.params.Get("job")
	if name == "" {
		return nil, invalidParameter("job is missing")
	}
	recent := false
	if c.s.version == Newest {
		var f *failure
		if recent, f = c.flag("search_recent_successful_pipelines"); f != nil {
			return nil, f
		}
	}
	for _, pl := range slices.Backward(c.project.pipelines) {
		if pl.spec.Ref != c.path["ref_name"] || pl.status() != gitlabjobs.StatusSuccess {
			continue
		}
		for _, j := range slices.Backward(pl.jobs) {
			if j.spec.Name == name && !j.bridge && !j.retried && j.status == gitlabjobs.StatusSuccess && j.hasArtifacts(c.now) {
				return j, nil
			}
		}
		if !recent {
			break
		}
	}
	return nil, missingRecord
}

func (c *call) keepArtifacts() (reply, *failure) {
	j, f := c.findJob(false)
	switch {
	case f != nil:
		return nil, f
	case j.archive == nil || j.expired(c.now):
		return nil, notFound(fmt.Sprintf("#<Ci::Build:0x%016x>", j.id))
	}
	j.expire = time.Time{}
	return c.jobWithDownloadURL(http.StatusOK, j)
}

func (c *call) deleteArtifacts() (reply, *failure) {
	j, f := c.findJob(false)
	switch {
	case f != nil:
		return nil, f
	case c.project.statsRefresh:
		return nil, refreshing
	}
	j.eraseArtifacts()
	return emptyReply{http.StatusNoContent}, nil
}

func (c *call) deleteProjectArtifacts() (reply, *failure) {
	if c.project.statsRefresh {
		return nil, refreshing
	}
	for _, j := range c.project.jobs {
		if !j.spec.ArtifactsLocked {
			j.eraseArtifacts()
		}
	}
	return asReply(jsonOf(http.StatusAccepted, map[string]string{"message": "202 Accepted"}))
}

type treeEntryJSON struct {
	Name string  `json:"name"`
	Path string  `json:"path"`
	Type string  `json:"type"`
	Size *int64  `json:"size,omitempty"`
	Mode *string `json:"mode"`
}

func (c *call) listTree() (reply, *failure) {
	j, f := c.findJob(false)
	if f != nil {
		return nil, f
	}
	recursive, f := c.flag("recursive")
	switch {
	case f != nil:
		return nil, f
	case !j.hasArtifacts(c.now):
		return nil, notFound("Artifacts")
	case j.spec.NoMetadata || j.archive.open() == nil:
		return nil, notFound("Artifacts metadata")
	}
	entries, found := treeOf(j.archive.open(), c.params.Get("path"), recursive)
	if !found {
		return nil, notFound("Path")
	}
	entries, header, f := paginate(c, entries, true)
	if f != nil {
		return nil, f
	}
	rep, f := jsonOf(http.StatusOK, entries)
	rep.header = header
	return rep, f
}

// treeOf lists the entries below a directory of an archive, "" being its
// root: directories first, each in the order of their paths.
func treeOf(z *zip.Reader, dir string, recursive bool) (entries []treeEntryJSON, found bool) {
	if dir = strings.Trim(dir, "/"); dir != "" {
		dir += "/"
	}
	all := make(map[string]treeEntryJSON)
	for _, file := range z.File {
		name, isDir := strings.CutSuffix(file.Name, "/")
		for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
			if _, ok := all[parent+"/"]; !ok {
				all[parent+"/"] = treeEntryJSON{Name: path.Base(parent), Path: parent + "/", Type: "directory"}
			}
		}
		mode := fmt.Sprintf("100%03o", file.Mode().Perm())
		if isDir {
			mode = fmt.Sprintf("40%03o", file.Mode().Perm())
			all[file.Name] = treeEntryJSON{Name: path.Base(name), Path: file.Name, Type: "directory", Mode: &mode}
			continue
		}
		size := int64(file.UncompressedSize64)
		all[file.Name] = treeEntryJSON{Name: path.Base(name), Path: file.Name, Type: "file", Size: &size, Mode: &mode}
	}
	entries = []treeEntryJSON{}
	for name, entry := range all {
		rest, below := strings.CutPrefix(name, dir)
		if !below {
			continue
		}
		found = true
		if rest != "" && (recursive || !strings.Contains(strings.TrimSuffix(rest, "/"), "/")) {
			entries = append(entries, entry)
		}
	}
	slices.SortFunc(entries, func(a, b treeEntryJSON) int {
		if a.Type != b.Type {
			return strings.Compare(a.Type, b.Type) // "directory" < "file"
		}
		return strings.Compare(a.Path, b.Path)
	})
	return entries, found || dir == ""
}
