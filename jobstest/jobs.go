package jobstest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"github.com/gitlabjobs/gitlabjobs"
)

// Snapshot returns the job as the API shows it now.
func (j *Job) Snapshot() gitlabjobs.Job {
	j.lock()
	defer j.unlock()
	var snapshot gitlabjobs.Job
	if err := json.Unmarshal(mustJSON(j.pl.p.s.renderer().job(j)), &snapshot); err != nil {
		panic("jobstest: " + err.Error())
	}
	return snapshot
}

func (c *call) getJob() (reply, *failure) {
	j, f := c.findJob(false)
	if f != nil {
		return nil, f
	}
	return asReply(jsonOf(http.StatusOK, c.s.renderer().job(j)))
}

func (c *call) cancelJob() (reply, *failure) {
	j, f := c.findJob(false)
	if f != nil {
		return nil, f
	}
	force, f := c.flag("force")
	switch {
	case f != nil:
		return nil, f
	case force && c.role < Maintainer:
		return nil, forbidden("")
	}
	j.cancelNow(c.now, force && c.s.version == Newest)
	return asReply(jsonOf(http.StatusCreated, c.s.renderer().job(j)))
}

func (c *call) retryJob() (reply, *failure) {
	j, f := c.findJob(c.s.version == Newest)
	if f != nil {
		return nil, f
	}
	inputs, f := c.inputs()
	switch {
	case f != nil:
		return nil, f
	case !j.retryable():
		return nil, forbidden("Job is not retryable")
	}
	again := j.retryNow(c.now, c.user)
	again.inputs = inputs
	return asReply(jsonOf(http.StatusCreated, c.s.renderer().any(again)))
}

func (c *call) playJob() (reply, *failure) {
	j, f := c.findJob(true)
	if f != nil {
		return nil, f
	}
	variables, f := c.jobVariables()
	if f != nil {
		return nil, f
	}
	inputs, f := c.inputs()
	switch {
	case f != nil:
		return nil, f
	case !j.playable():
		return nil, c.badRequest("Unplayable Job")
	}
	played := j.playNow(c.now, c.user)
	played.variables, played.inputs = variables, inputs
	if c.s.version == V12_3 && !played.bridge {
		out := c.s.renderer().job(played)
		out.Status = "started"
		return asReply(jsonOf(http.StatusOK, out))
	}
	return asReply(jsonOf(http.StatusOK, c.s.renderer().any(played)))
}

func (c *call) eraseJob() (reply, *failure) {
	j, f := c.findJob(false)
	switch {
	case f != nil:
		return nil, f
	case c.role < Maintainer && j.user != c.user:
		return nil, forbidden("")
	case c.project.statsRefresh:
		return nil, refreshing
	case !j.erasable():
		return nil, forbidden("Job is not erasable!")
	}
	j.eraseNow(c.now)
	return c.jobWithDownloadURL(http.StatusCreated, j)
}

// jobWithDownloadURL is the answer of erase and keep, which 12.3 gives an odd key.
func (c *call) jobWithDownloadURL(status int, j *Job) (reply, *failure) {
	out := c.s.renderer().job(j)
	if c.s.version == V12_3 {
		out.DownloadURL = nullKey
	}
	return asReply(jsonOf(status, out))
}

func (c *call) getTrace() (reply, *failure) {
	j, f := c.findJob(false)
	switch {
	case f != nil:
		return nil, f
	case j.spec.DebugTrace && c.role < Developer:
		return nil, forbidden("")
	case j.log.size == 0 && c.s.version == V12_3:
		return nil, notFound("")
	}
	return traceReply{log: j.log, jobID: j.id, archived: j.status.Finished()}, nil
}

// jobVariables reads job_variables_attributes, from JSON or from a form.
func (c *call) jobVariables() ([]Variable, *failure) {
	const name = "job_variables_attributes"
	raw, ok := c.json[name]
	if !ok {
		return c.formVariables(name)
	}
	list, ok := raw.([]any)
	if !ok {
		return nil, invalidParameter(name + " is invalid")
	}
	var variables []Variable
	for i, item := range list {
		fields, _ := item.(map[string]any)
		for _, key := range []string{"key", "value"} {
			if _, ok := fields[key].(string); !ok {
				return nil, invalidParameter(fmt.Sprintf("%s[%d][%s] is missing", name, i, key))
			}
		}
		variables = append(variables, Variable{Key: fields["key"].(string), Value: fields["value"].(string)})
	}
	return variables, nil
}

var formVariable = regexp.MustCompile(`^job_variables_attributes\[(\d*)\]\[(key|value)\]$`)

// formVariables reads job_variables_attributes[][key] and [value], in pairs,
// or with numbers between the first brackets.
func (c *call) formVariables(name string) ([]Variable, *failure) {
	if c.params.Get(name) != "" { // a plain value where a list should be
		return nil, invalidParameter(name + " is invalid")
	}
	keys, values := make(map[int]string), make(map[int]string)
	for param, list := range c.params {
		m := formVariable.FindStringSubmatch(param)
		if m == nil {
			continue
		}
		into := map[string]map[int]string{"key": keys, "value": values}[m[2]]
		first, _ := strconv.Atoi(m[1]) // "" is the first of several
		for i, v := range list {
			into[first+i] = v
		}
	}
	var variables []Variable
	for i := range max(len(keys), len(values)) {
		for _, part := range []struct {
			name string
			of   map[int]string
		}{{"key", keys}, {"value", values}} {
			if _, ok := part.of[i]; !ok {
				return nil, invalidParameter(fmt.Sprintf("%s[%d][%s] is missing", name, i, part.name))
			}
		}
		variables = append(variables, Variable{Key: keys[i], Value: values[i]})
	}
	return variables, nil
}

// inputs reads job_inputs, which older versions ignore.
func (c *call) inputs() (map[string]any, *failure) {
	raw, ok := c.json["job_inputs"]
	if !ok || raw == nil || c.s.version == V12_3 {
		return nil, nil
	}
	inputs, ok := raw.(map[string]any)
	if !ok {
		return nil, invalidParameter("job_inputs is invalid")
	}
	return inputs, nil
}

// asReply hides the kind of a reply that may not have come about.
func asReply(rep jsonReply, f *failure) (reply, *failure) {
	if f != nil {
		return nil, f
	}
	return rep, nil
}
