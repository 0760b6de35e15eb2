package joblog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs/joblog"
)

func TestSections(t *testing.T) {
	t.Parallel()
	at := func(unix int64) time.Time { return time.Unix(unix, 0).UTC() }
	for name, test := range map[string]struct {
		log  string
		want []joblog.Section
	}{
		"none": {"text\n", nil},
		"one": {
			"\x1b[0Ksection_start:1773480413:a.b-c_D9\r\x1b[0K\x1b[36;1mHeader\x1b[m\ntext\n\x1b[0Ksection_end:1773480415:a.b-c_D9\r\x1b[0K\n",
			[]joblog.Section{{Name: "a.b-c_D9", Header: "Header", Start: at(1773480413), End: at(1773480415), Duration: 2 * time.Second}},
		},
		"without header": {
			"section_start:1:a\r\x1b[0K\nsection_end:1:a\r\x1b[0K",
			[]joblog.Section{{Name: "a", Start: at(1), End: at(1)}},
		},
		"collapsed": {
			"section_start:1:a[hide_duration=true, collapsed=true]\r\x1b[0K\nsection_end:1:a\r\x1b[0K" +
				"section_start:1:b[collapsed=false]\r\x1b[0K\nsection_end:1:b\r\x1b[0K",
			[]joblog.Section{
				{Name: "a", Start: at(1), End: at(1), Collapsed: true},
				{Name: "b", Start: at(1), End: at(1)},
			},
		},
		"nested": {
			"section_start:1:a\r\x1b[0KA\nsection_start:2:b\r\x1b[0KB\nsection_end:3:b\r\x1b[0K\nsection_end:4:a\r\x1b[0K\n",
			[]joblog.Section{
				{Name: "b", Header: "B", Start: at(2), End: at(3), Duration: time.Second, Depth: 1},
				{Name: "a", Header: "A", Start: at(1), End: at(4), Duration: 3 * time.Second},
			},
		},
		"nested under one name": {
			"section_start:1:a\r\x1b[0Kouter\nsection_start:2:a\r\x1b[0Kinner\nsection_end:3:a\r\x1b[0K\nsection_end:4:a\r\x1b[0K\n",
			[]joblog.Section{
				{Name: "a", Header: "inner", Start: at(2), End: at(3), Duration: time.Second, Depth: 1},
				{Name: "a", Header: "outer", Start: at(1), End: at(4), Duration: 3 * time.Second},
			},
		},
		"several on one line": {
			"section_start:1:a\r\x1b[0KA section_start:2:b\r\x1b[0K1%\rB section_end:3:b\r\x1b[0Kout\n",
			[]joblog.Section{
				{Name: "b", Header: "B ", Start: at(2), End: at(3), Duration: time.Second, Depth: 1},
				{Name: "a", Header: "A ", Start: at(1)},
			},
		},
		"the end of the outer one ends the inner ones": {
			"section_start:1:a\r\x1b[0K\nsection_start:2:b\r\x1b[0K\nsection_start:3:c\r\x1b[0K\nsection_end:4:a\r\x1b[0K\nsection_end:5:b\r\x1b[0K\n",
			[]joblog.Section{
				{Name: "c", Start: at(3), End: at(4), Duration: time.Second, Depth: 2},
				{Name: "b", Start: at(2), End: at(4), Duration: 2 * time.Second, Depth: 1},
				{Name: "a", Start: at(1), End: at(4), Duration: 3 * time.Second},
			},
		},
		"never ended": {
			"section_start:1:a\r\x1b[0K\nsection_start:2:b\r\x1b[0K\nsection_end:3:none\r\x1b[0K",
			[]joblog.Section{{Name: "b", Start: at(2), Depth: 1}, {Name: "a", Start: at(1)}},
		},
		"end without start": {"section_end:1:a\r\x1b[0K\n", nil},
		"times that are none": {
			"section_start:99999999999999999999999999:a\r\x1b[0K\nsection_start:253402300800:b\r\x1b[0K\n" +
				"section_start:0:c\r\x1b[0K\nsection_end:9223372036854775807:c\r\x1b[0K\nsection_end:7:a\r\x1b[0K\n",
			[]joblog.Section{
				{Name: "c", Start: at(0), Depth: 2},
				{Name: "b", End: at(7), Depth: 1},
				{Name: "a", End: at(7)},
			},
		},
		"a clock set back": {
			"section_start:9:a\r\x1b[0K\nsection_end:7:a\r\x1b[0K\n",
			[]joblog.Section{{Name: "a", Start: at(9), End: at(7), Duration: -2 * time.Second}},
		},
		"with timestamps": {
			stamp("00O ") + "section_start:1:a\r\n" + stamp("00O+") + "\x1b[0KHeader\n" +
				stamp("00O ") + "section_end:2:a\r\n" + stamp("00O+") + "\x1b[0Ksection_start:2:b\r\n" + stamp("00O+") + "\x1b[0K",
			[]joblog.Section{
				{Name: "a", Header: "Header", Start: at(1), End: at(2), Duration: time.Second},
				{Name: "b", Start: at(2)},
			},
		},
		"invalid UTF-8 in the header": {
			"section_start:1:a\r\x1b[0KGr\xf6\xdfe\n",
			[]joblog.Section{{Name: "a", Header: "Gr\ufffd\ufffde", Start: at(1)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := collect(joblog.Sections(strings.NewReader(test.log)), same)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
			_, err = json.Marshal(got)
			assert.NoError(t, err, "times that can be written")
		})
	}
}

func TestSectionsGoOnAfterABreak(t *testing.T) {
	t.Parallel()
	sections := joblog.Sections(strings.NewReader(
		"section_start:1:a\r\x1b[0Ksection_start:1:b\r\x1b[0Ksection_start:1:c\r\x1b[0K\nsection_end:2:a\r\x1b[0K\n"))
	for s, err := range sections {
		require.NoError(t, err)
		assert.Equal(t, "c", s.Name)
		break
	}
	rest, err := collect(sections, func(s joblog.Section) string { return s.Name })
	require.NoError(t, err)
	assert.Equal(t, []string{"b", "a"}, rest)
}

func TestSectionsWithoutEnd(t *testing.T) {
	t.Parallel()
	const started, most = 1500, 1000
	var log strings.Builder
	for i := range started {
		fmt.Fprintf(&log, "section_start:1:s%d\r\x1b[0K\n", i)
	}
	sections, err := collect(joblog.Sections(strings.NewReader(log.String())), same)
	require.NoError(t, err)
	require.Len(t, sections, most)
	assert.Equal(t, joblog.Section{Name: "s999", Start: time.Unix(1, 0).UTC(), Depth: most - 1}, sections[0])

	var last joblog.Line
	for line, err := range joblog.Lines(strings.NewReader(log.String())) {
		require.NoError(t, err)
		last = line
	}
	assert.Equal(t, started, last.Number)
	assert.Len(t, last.Sections, most)
}

func same(s joblog.Section) joblog.Section { return s }
