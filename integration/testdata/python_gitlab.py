"""Asks a GitLab by python-gitlab for what peers_test.go asks for, too, and
prints the answers as one JSON object. Its argument is a JSON object, too."""

import hashlib
import json
import sys

import gitlab

ask = json.loads(sys.argv[1])
gl = gitlab.Gitlab(ask["url"], private_token=ask["token"])
project = gl.projects.get(ask["project"])
jobs = project.jobs
pipeline = project.pipelines.get(ask["pipeline"])
answers = {}


def attributes(objects):
    return [o.asdict() for o in objects]


def digest(content):
    return hashlib.sha256(content).hexdigest()


def refusal(call):
    try:
        call()
    except gitlab.exceptions.GitlabError as e:
        return {"status": e.response_code, "message": e.error_message}
    return None


answers["get"] = jobs.get(ask["success"]).asdict()
answers["list"] = attributes(jobs.list(iterator=True, per_page=3))
answers["list by keyset"] = attributes(jobs.list(iterator=True, per_page=3, pagination="keyset"))
answers["list page 2"] = attributes(jobs.list(page=2, per_page=4))
answers["list by scope"] = attributes(jobs.list(get_all=True, scope=["failed", "manual"]))
answers["pipeline"] = attributes(pipeline.jobs.list(iterator=True, per_page=3))
answers["pipeline total"] = pipeline.jobs.list(iterator=True, per_page=3).total
answers["pipeline with retried"] = attributes(pipeline.jobs.list(get_all=True, include_retried=True))
answers["bridges"] = attributes(pipeline.bridges.list(get_all=True))

success = jobs.get(ask["success"])
answers["archive"] = digest(success.artifacts())
chunks = []
success.artifacts(streamed=True, action=chunks.append, chunk_size=1000)
answers["archive streamed"] = digest(b"".join(chunks))
answers["file"] = digest(success.artifact(ask["path"]))
answers["archive of ref"] = digest(project.artifacts.download(ref_name="main", job=ask["name"]))
answers["file of ref"] = digest(project.artifacts.raw("main", ask["path"], ask["name"]))
answers["log"] = digest(success.trace())

answers["unknown job"] = refusal(lambda: jobs.get(99999))
answers["unknown token"] = refusal(lambda: gitlab.Gitlab(ask["url"], private_token="wrong").http_get("/projects/1/jobs"))
answers["unplayable"] = refusal(lambda: success.play())
answers["unretryable"] = refusal(lambda: jobs.get(ask["manual"]).retry())
answers["bad scope"] = refusal(lambda: jobs.list(scope=["sleeping"]))
answers["unknown file"] = refusal(lambda: success.artifact("no/such/file"))["status"]

answers["current"] = gitlab.Gitlab(ask["url"], job_token=ask["job_token"]).http_get("/job")

manual = jobs.get(ask["manual"])
variables = {"job_variables_attributes": [{"key": "CHANNEL", "value": "beta"}]}
answers["misplaced variables"] = refusal(lambda: manual.play(**variables))["status"]  # in the query, flattened
manual.play(post_data=variables)
answers["played"] = jobs.get(ask["manual"]).asdict()
answers["retried"] = jobs.get(ask["failed"]).retry()
answers["canceled"] = jobs.get(ask["running"]).cancel()
success.keep_artifacts()
answers["kept"] = jobs.get(ask["success"]).asdict()
success.delete_artifacts()
answers["without artifacts"] = jobs.get(ask["success"]).asdict()
answers["no archive"] = refusal(lambda: success.artifacts())["status"]
success.erase()
answers["erased"] = jobs.get(ask["success"]).asdict()
answers["unerasable"] = refusal(lambda: success.erase())
project.artifacts.delete()
answers["in the end"] = attributes(jobs.list(get_all=True))

json.dump(answers, sys.stdout)
