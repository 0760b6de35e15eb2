package gitlabjobs_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
	"github.com/gitlabjobs/gitlabjobs/jobstest"
)

// What a process that only saves is told.
const (
	saveFromVariable     = "GITLABJOBS_TEST_SAVE_FROM"
	saveToVariable       = "GITLABJOBS_TEST_SAVE_TO"
	saveParallelVariable = "GITLABJOBS_TEST_SAVE_PARALLEL"
)

// TestSaveInAnotherProcess is the process that TestSaveSurvivesKills kills.
func TestSaveInAnotherProcess(t *testing.T) {
	if os.Getenv(saveFromVariable) == "" {
		t.Skip("it is for TestSaveSurvivesKills")
	}
	parallel, err := strconv.Atoi(os.Getenv(saveParallelVariable))
	require.NoError(t, err)
	client := downloadClient(t, os.Getenv(saveFromVariable))
	_, err = saveArchive(t, client, os.Getenv(saveToVariable), &gitlabjobs.SaveOptions{KeepPartial: true, Parallel: parallel})
	require.NoError(t, err)
}

// saver starts the process that saves.
func saver(t *testing.T, from, to string, parallel int) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSaveInAnotherProcess$")
	command.Env = append(os.Environ(),
		saveFromVariable+"="+from, saveToVariable+"="+to, saveParallelVariable+"="+strconv.Itoa(parallel))
	require.NoError(t, command.Start())
	return command
}

// A killer serves an archive and kills the process that saves it after so many bytes.
type killer struct {
	content io.ReaderAt
	size    int64
	look    func() // after every write

	mu      sync.Mutex
	left    int64 // bytes until it kills
	delay   time.Duration
	process *os.Process
	sent    int64
	resumed int // requests for a range
}

func (k *killer) arm(left int64, delay time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left, k.delay, k.process = left, delay, nil
}

// aim says whom to kill.
func (k *killer) aim(process *os.Process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.process = process
	k.shoot()
}

func (k *killer) shoot() {
	if k.left <= 0 && k.process != nil {
		process := k.process
		time.AfterFunc(k.delay, func() { process.Kill() }) //nolint:errcheck // it may have ended
		k.process = nil
	}
}

func (k *killer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"v1"`)
	http.ServeContent(&killingWriter{w, k}, r, "", time.Time{}, io.NewSectionReader(k.content, 0, k.size))
}

type killingWriter struct {
	http.ResponseWriter
	killer *killer
}

func (w *killingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.killer.look()
	w.killer.mu.Lock()
	defer w.killer.mu.Unlock()
	w.killer.sent += int64(n)
	w.killer.left -= int64(n)
	w.killer.shoot()
	return n, err
}

// A save that is killed again and again ends right, and until then its file
// isn't there.
func TestSaveSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts 50 processes")
	}
	const kills, size = 50, 64 * mebibyte
	archive, _ := jobstest.SyntheticZip(size, 4)
	digest := digestOf(t, io.NewSectionReader(archive, 0, size))
	dir := t.TempDir()
	name := filepath.Join(dir, "archive.zip")
	k := &killer{content: archive, size: size, look: func() {
		if info, err := os.Stat(name); err == nil {
			assert.EqualValues(t, size, info.Size(), "a partial file is visible")
		}
	}}
	server, _ := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if r.Header.Get("Range") != "" {
			k.mu.Lock()
			k.resumed++
			k.mu.Unlock()
		}
		k.ServeHTTP(w, r)
	})
	checkFile := func() {
		file, err := os.Open(name)
		require.NoError(t, err)
		defer file.Close()
		require.Equal(t, digest, digestOf(t, file))
		require.NoError(t, os.Remove(name))
	}
	random := rand.New(rand.NewPCG(4, 2))
	ended := 0
	for range kills {
		k.arm(random.Int64N(size/3), time.Duration(random.Int64N(int64(10*time.Millisecond))))
		command := saver(t, server.URL, name, 1+3*random.IntN(2))
		k.aim(command.Process)
		command.Wait() //nolint:errcheck // it was killed, or not
		if _, err := os.Stat(name); err == nil {
			ended++
			checkFile()
		}
	}
	k.arm(1<<62, 0)
	command := saver(t, server.URL, name, 1)
	require.NoError(t, command.Wait())
	checkFile()
	k.mu.Lock()
	defer k.mu.Unlock()
	assert.Positive(t, k.resumed)
	assertFiles(t, dir)
	t.Logf("%d kills, %d saves, %.1f times their size sent", kills, ended+1, float64(k.sent)/float64(size)/float64(ended+1))
}
