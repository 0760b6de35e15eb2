package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain plays the part that the environment asks for: the test starts this
// binary again as server and as contestants.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// tinyScale is just enough for each case to do what it does.
var tinyScale = scale{
	Rounds:       1,
	Archive:      64 << 20,
	FarArchive:   9 << 20,
	SmallArchive: 1 << 20,
	ResetEvery:   10 << 20,
	DecodedPages: 2,
	Jobs:         450,
	Gets:         64,
	LogSizes:     [2]int64{64 << 10, 256 << 10},
	LogSteps:     3,
}

func TestEveryCaseRuns(t *testing.T) {
	bench, err := startBench(t.Context(), tinyScale, t.TempDir())
	require.NoError(t, err)
	defer func() { assert.NoError(t, bench.close()) }()
	results := map[string]result{}
	for _, s := range studies(tinyScale) {
		r, err := bench.run(t.Context(), s)
		require.NoError(t, err, "case %s", s.id)
		for _, column := range s.columns {
			seen := false
			for _, series := range r.series {
				_, ok := series.median(column)
				seen = seen || ok
			}
			assert.True(t, seen, "case %s measures no %s", s.id, column)
		}
		for _, v := range r.verdicts() {
			assert.True(t, v.known, "case %s can't tell: %s", s.id, v.what)
		}
		results[s.id] = r
	}
	value := func(id, name string, m metric) float64 {
		got, ok := results[id].median(name, m)
		require.True(t, ok, "%s, %s, %s", id, name, m)
		return got
	}
	assert.Zero(t, value(reset, ours, failed))
	assert.GreaterOrEqual(t, value(reset, ours, resumes), 6.0)
	assert.Equal(t, 1.0, value(reset, official, failed)) //nolint:testifylint // it is a count
	assert.InDelta(t, 5, value(list, ours+", "+asConfigured, requests), 0)
	assert.InDelta(t, 23, value(list, official+", "+asConfigured, requests), 0)
	assert.Less(t, value(smallRead, ours, wire), 0.64)
	assert.Less(t, value(follow, ours+", "+largeLog+withETags, wire), value(follow, ours+", "+largeLog, wire))
}

func TestReportTellsMetFromNotMet(t *testing.T) {
	runs := func(name string, values ...float64) series {
		all := series{task: task{Contestant: name}}
		for _, v := range values {
			all.runs = append(all.runs, metrics{wall: v, peak: 10 * v})
		}
		return all
	}
	r := result{downloadStudy(tinyScale), []series{
		runs(ours, 3, 1, 2.5), runs(plain, 2, 2, 2), runs(ours+", "+small, 2.5), runs(official+", "+small, 16, 20, 25),
	}}
	page := string(markdown([]result{r}, []string{"a machine"}, tinyScale, 0))
	assert.Contains(t, page, "- a machine\n")
	assert.Contains(t, page, "| gitlabjobs | 2.50 (1 to 3) |")
	assert.Contains(t, page, "| a | wall, of net/http's | 1.25 | at most 1.15 | **not met** |")
	assert.Contains(t, page, "| a | wall, of client-go's, small archive | 0.125 | at most 0.2 | met |")
	assert.Contains(t, string(chart([]result{r})), ">12.5%<")
}
