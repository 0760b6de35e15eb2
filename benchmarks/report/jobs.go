package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
)

// A jobList is the list of a project's jobs as the newest servers have it:
// newest first, in pages by number or by cursor.
type jobList struct{ jobs [][]byte }

const (
	defaultPerPage = 20
	fullPage       = 100 // jobs, the most there are on a page
)

func newJobList(n int) jobList {
	list := jobList{jobs: make([][]byte, n)}
	for i := range n {
		list.jobs[i] = appendJob(nil, n-i, "success")
	}
	return list
}

// page returns the jobs from a number of them on.
func (l jobList) page(from, perPage int) []byte {
	from = min(from, len(l.jobs))
	jobs := l.jobs[from:min(from+perPage, len(l.jobs))]
	return append(append([]byte{'['}, bytes.Join(jobs, []byte{','})...), ']')
}

func (l jobList) serve(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(query.Get(name)); err == nil && n > 0 {
			return n
		}
		return otherwise
	}
	perPage := min(number("per_page", defaultPerPage), fullPage)
	keyset := query.Get("pagination") == "keyset"
	from := (number("page", 1) - 1) * perPage
	if keyset {
		from = number("cursor", 0)
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	next := from + perPage
	if next < len(l.jobs) {
		if keyset {
			query.Set("cursor", strconv.Itoa(next))
		} else {
			query.Set("page", strconv.Itoa(next/perPage+1))
		}
		query.Set("per_page", strconv.Itoa(perPage))
		header.Set("Link", fmt.Sprintf("<http://%s%s?%s>; rel=\"next\"", r.Host, r.URL.EscapedPath(), query.Encode()))
	}
	if !keyset {
		header.Set("X-Page", strconv.Itoa(next/perPage))
		header.Set("X-Per-Page", strconv.Itoa(perPage))
		header.Set("X-Next-Page", "")
		if next < len(l.jobs) {
			header.Set("X-Next-Page", strconv.Itoa(next/perPage+1))
		}
	}
	w.Write(l.page(from, perPage)) //nolint:errcheck // the client has gone
}

// appendJob appends a job with all the fields that servers send, of the length
// they have in the wild. Its extended trailers are empty: client-go can't decode
// others.
func appendJob(b []byte, id int, status string) []byte {
	return fmt.Appendf(b, jobJSON, id, status, id, id)
}

const jobJSON = `{"id":%d,"status":%q,"stage":"test","name":"unit tests, part %d","ref":"feature/streaming-downloads","tag":false,` +
	`"coverage":87.5,"allow_failure":false,"created_at":"2026-10-01T10:00:00.123Z","started_at":"2026-10-01T10:01:00.123Z",` +
	`"finished_at":"2026-10-01T10:11:00.123Z","erased_at":null,"duration":600.465217,"queued_duration":12.123456,` +
	`"user":{"id":4711,"username":"jdoe","name":"Jane Doe","state":"active","locked":false,` +
	`"avatar_url":"https://gitlab.example.com/uploads/-/system/user/avatar/4711/avatar.png","web_url":"https://gitlab.example.com/jdoe",` +
	`"created_at":"2019-03-05T08:30:11.077Z","bio":"Builds things.","location":null,"public_email":"","skype":"","linkedin":"",` +
	`"twitter":"","discord":"","website_url":"","organization":"Example","job_title":"Engineer","pronouns":null,"bot":false,` +
	`"work_information":"Engineer at Example","local_time":"3:38 PM"},` +
	`"commit":{"id":"c6e1a3f2d4b5968778695a4b3c2d1e0f12345678","short_id":"c6e1a3f2","created_at":"2026-09-30T16:51:14.000+01:00",` +
	`"parent_ids":["0f1e2d3c4b5a69788796a5b4c3d2e1f087654321"],"title":"Stream downloads in constant memory",` +
	`"message":"Stream downloads in constant memory\n\nBytes go to the writer as they come, and are hashed on the way.\n",` +
	`"author_name":"Jane Doe","author_email":"jane.doe@example.com","authored_date":"2026-09-30T16:51:14.000+01:00",` +
	`"committer_name":"Jane Doe","committer_email":"jane.doe@example.com","committed_date":"2026-09-30T16:51:14.000+01:00",` +
	`"trailers":{"Changelog":"added"},"extended_trailers":{},` +
	`"web_url":"https://gitlab.example.com/group/sub/app/-/commit/c6e1a3f2d4b5968778695a4b3c2d1e0f12345678"},` +
	`"pipeline":{"id":6123456,"iid":421,"project_id":12345,"sha":"c6e1a3f2d4b5968778695a4b3c2d1e0f12345678",` +
	`"ref":"feature/streaming-downloads","status":"running","source":"push","created_at":"2026-10-01T09:59:00.123Z",` +
	`"updated_at":"2026-10-01T10:20:00.123Z","web_url":"https://gitlab.example.com/group/sub/app/-/pipelines/6123456"},` +
	`"web_url":"https://gitlab.example.com/group/sub/app/-/jobs/%d","project":{"ci_job_token_scope_enabled":false},` +
	`"artifacts_file":{"filename":"artifacts.zip","size":1073741824},"artifacts":[` +
	`{"file_type":"archive","size":1073741824,"filename":"artifacts.zip","file_format":"zip"},` +
	`{"file_type":"metadata","size":18634,"filename":"metadata.gz","file_format":"gzip"},` +
	`{"file_type":"trace","size":151234,"filename":"job.log","file_format":"raw"},` +
	`{"file_type":"junit","size":7504,"filename":"junit.xml.gz","file_format":"gzip"}],` +
	`"runner":{"id":815,"description":"build-runner-3.example.com","ip_address":null,"active":true,"paused":false,"is_shared":true,` +
	`"runner_type":"instance_type","name":"gitlab-runner","online":true,"status":"online"},` +
	`"runner_manager":{"id":1630,"system_id":"s_0a1b2c3d4e5f","version":"18.4.0","revision":"139a0ac0","platform":"linux",` +
	`"architecture":"amd64","created_at":"2026-05-01T10:12:02.507Z","contacted_at":"2026-10-01T10:11:09.355Z",` +
	`"ip_address":"192.0.2.17","status":"online"},` +
	`"artifacts_expire_at":"2026-11-01T10:11:00.123Z","archived":false,"source":"push","tag_list":["docker","linux"]}`
