package main

import (
	"fmt"
	"os/exec"
)

// The cases.
const (
	download  = "a"
	far       = "b"
	decode    = "c"
	list      = "d"
	get       = "e"
	smallRead = "f"
	reset     = "g"
	binaries  = "h"
	follow    = "i"
)

// A study is one case: what is done, by whom, and what should come out.
type study struct {
	id      string
	title   string
	note    string
	tasks   []task
	columns []metric
	targets []target
}

// A target is what a case has to reach.
type target struct {
	what  string
	value func(result) (float64, bool)
	limit float64
	least bool // at least the limit, not at most
}

// ratio returns a contestant's median over another one's.
func ratio(m metric, contestant, of string) func(result) (float64, bool) {
	return func(r result) (float64, bool) {
		a, ok1 := r.median(contestant, m)
		b, ok2 := r.median(of, m)
		if !ok1 || !ok2 || b == 0 {
			return 0, false
		}
		return a / b, true
	}
}

// median returns a contestant's median.
func median(m metric, contestant string) func(result) (float64, bool) {
	return func(r result) (float64, bool) { return r.median(contestant, m) }
}

func tasks(variant string, contestants ...string) []task {
	var all []task
	for _, c := range contestants {
		all = append(all, task{Contestant: c, Variant: variant})
	}
	return all
}

func mebibytes(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// studies returns all cases.
func studies(scale scale) []study {
	all := []study{
		downloadStudy(scale), farStudy(scale), decodeStudy(scale), listStudy(scale), getStudy(scale),
		smallReadStudy(scale), resetStudy(scale),
	}
	if scale.BuildBinaries {
		all = append(all, binariesStudy())
	}
	return append(all, followStudy(scale))
}

func downloadStudy(scale scale) study {
	s := study{
		id:    download,
		title: "An archive of " + mebibytes(scale.Archive) + " to a file, and a small one of " + mebibytes(scale.SmallArchive),
		note: "gitlabjobs also computes the SHA-256 and compares it with the server's: DownloadArtifacts, and \"synced and renamed\" SaveArtifacts. " +
			"client-go gets the large one only with -long.",
		tasks:   append(tasks("", ours, plain), tasks("synced and renamed", ours)...),
		columns: []metric{wall, cpu, peak},
		targets: []target{
			{"wall, of net/http's", ratio(wall, ours, plain), 1.15, false},
			{"wall, of client-go's, small archive", ratio(wall, ours+", "+small, official+", "+small), 0.2, false},
			{"peak memory, MiB", median(peak, ours), 24, false},
		},
	}
	if _, err := exec.LookPath(curl); err == nil {
		s.tasks = append(s.tasks, tasks("", curl)...)
	}
	if scale.Long {
		s.tasks = append(s.tasks, tasks("", official)...)
		s.targets = append(s.targets, target{"wall, of client-go's", ratio(wall, ours, official), 0.2, false})
	}
	s.tasks = append(s.tasks, tasks(small, ours, official)...)
	return s
}

func farStudy(scale scale) study {
	return study{
		id:      far,
		title:   fmt.Sprintf("An archive of %s to a file behind %v of latency and %d MB/s a connection", mebibytes(scale.FarArchive), farLatency, farBandwidth/1_000_000),
		note:    "SaveArtifacts.",
		tasks:   append(tasks("1 connection", ours), tasks("4 connections", ours)...),
		columns: []metric{wall, cpu, peak, requests},
		targets: []target{
			{"speed of 4 connections, of 1 connection's", ratio(wall, ours+", 1 connection", ours+", 4 connections"), 3.5, true},
		},
	}
}

func decodeStudy(scale scale) study {
	return study{
		id:      decode,
		title:   fmt.Sprintf("Decoding a page of 100 jobs, %d KiB, %d times", len(cannedPage())>>10, scale.DecodedPages),
		note:    "By List of a page, the answer of which comes from memory, or over loopback. net/http decodes with encoding/json, into gitlabjobs' types.",
		tasks:   append(tasks("", ours, plain, official), tasks("over loopback", ours, plain, official)...),
		columns: []metric{throughput, perOp, allocBytes, allocs},
		targets: []target{
			{"throughput, of client-go's", ratio(throughput, ours, official), 2, true},
			{"bytes allocated, of client-go's", ratio(allocBytes, ours, official), 1. / 3, false},
		},
	}
}

func listStudy(scale scale) study {
	all := tasks(inBatches, ours, official)
	all = append(all, tasks(evenly, ours, official)...)
	return study{
		id:      list,
		title:   fmt.Sprintf("Listing %d jobs at %v a request, for a consumer that needs %v a page", scale.Jobs, slowLatency, perPageWork),
		note:    "Both by keyset with 100 jobs a page. The consumer works in batches of 100 jobs, or evenly, 1 ms after every tenth job. With the defaults of both, without latency and work, requests alone count.",
		tasks:   append(all, tasks(asConfigured, ours, official)...),
		columns: []metric{wall, cpu, requests},
		targets: []target{
			{"wall, of client-go's, in batches", ratio(wall, ours+", "+inBatches, official+", "+inBatches), 0.7, false},
			{"wall, of client-go's, evenly", ratio(wall, ours+", "+evenly, official+", "+evenly), 0.7, false},
			{"requests with the defaults, of client-go's", ratio(requests, ours+", "+asConfigured, official+", "+asConfigured), 0.2, false},
		},
	}
}

func getStudy(scale scale) study {
	const single, many = "1 at once", "32 at once"
	return study{
		id:      get,
		title:   fmt.Sprintf("Get of one job, %d times", scale.Gets),
		tasks:   append(tasks(single, ours, plain, official), tasks(many, ours, plain, official)...),
		columns: []metric{perOp, cpu, allocs, allocBytes, peak},
		targets: []target{
			{"time, of client-go's, 1 at once", ratio(perOp, ours+", "+single, official+", "+single), 1.05, false},
			{"time, of client-go's, 32 at once", ratio(perOp, ours+", "+many, official+", "+many), 1.05, false},
			{"allocations, of client-go's, 1 at once", ratio(allocs, ours+", "+single, official+", "+single), 1, false},
			{"allocations, of client-go's, 32 at once", ratio(allocs, ours+", "+many, official+", "+many), 1, false},
		},
	}
}

func smallReadStudy(scale scale) study {
	return study{
		id:      smallRead,
		title:   "One file of 4 KiB out of an archive of " + mebibytes(scale.Archive),
		note:    "By OpenArtifacts and fs.ReadFile. client-go has nothing like it but to download the archive, or a request that has the server find the file.",
		tasks:   tasks("", ours),
		columns: []metric{wall, cpu, peak, requests, wire},
		targets: []target{
			{"bytes, of the archive's", func(r result) (float64, bool) {
				sent, ok := r.median(ours, wire)
				return sent * (1 << 20) / float64(scale.Archive), ok
			}, 0.01, false},
		},
	}
}

func resetStudy(scale scale) study {
	return study{
		id:      reset,
		title:   fmt.Sprintf("An archive of %s over connections that are reset every %s", mebibytes(scale.Archive), mebibytes(scale.ResetEvery)),
		tasks:   tasks("", ours, plain, official),
		columns: []metric{failed, resumes, wall, wire, peak},
		targets: []target{
			{"gitlabjobs fails", median(failed, ours), 0, false},
			{"client-go fails", median(failed, official), 1, true},
		},
	}
}

func binariesStudy() study {
	return study{
		id:      binaries,
		title:   "A program that gets one job",
		note:    "Sizes are of go build without flags. Times are of compiling its modules and linking, with the standard library compiled already.",
		tasks:   tasks("", ours, plain, official),
		columns: []metric{size, modules, build},
		targets: []target{
			{"binary, of net/http's", ratio(size, ours, plain), 1.08, false},
			{"linked modules", median(modules, ours), 4, false},
		},
	}
}

func followStudy(scale scale) study {
	var all []task
	for _, log := range []string{smallLog, largeLog} {
		all = append(all, tasks(log, ours, official)...)
		all = append(all, tasks(log+withETags, ours)...)
	}
	return study{
		id: follow,
		title: fmt.Sprintf("Following a log that grows to %s or %s in %d steps, at each second poll",
			mebibytes(scale.LogSizes[0]), mebibytes(scale.LogSizes[1]), scale.LogSteps),
		note: "GitLab sends logs whole: each poll moves all of it. With ETags, as GitLab has them for archives, a poll without news moves nothing. " +
			"With client-go, the log and its job are fetched again and again, which is what tools do.",
		tasks:   all,
		columns: []metric{requests, wire, cpu, peak},
		targets: []target{
			{"peak memory, of the small log's", ratio(peak, ours+", "+largeLog, ours+", "+smallLog), 1.15, false},
		},
	}
}
