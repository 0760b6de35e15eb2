package gitlabjobs_test

import (
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gitlabjobs/gitlabjobs"
)

const noRoomVariable = "GITLABJOBS_TEST_NO_ROOM_IN"

// TestSaveInAProcessWithoutRoom is the process of TestSaveWithoutRoom.
func TestSaveInAProcessWithoutRoom(t *testing.T) {
	dir := os.Getenv(noRoomVariable)
	if dir == "" {
		t.Skip("it is for TestSaveWithoutRoom")
	}
	const room = 20 * mebibyte // bytes, which no file may exceed
	signal.Ignore(syscall.SIGXFSZ)
	limit := &syscall.Rlimit{Cur: room, Max: room}
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, limit))
	server, job, _ := archiveServer(t, 2*room)
	client := downloadClient(t, server.URL())
	name := filepath.Join(dir, "archive.zip")
	for _, parallel := range []int{1, 4} {
		d, err := client.Jobs.SaveArtifacts(t.Context(), "group/app", gitlabjobs.FromJob(job), name, &gitlabjobs.SaveOptions{Parallel: parallel})
		require.ErrorIs(t, gitlabjobs.Fails(t, err), syscall.EFBIG)
		require.ErrorContains(t, gitlabjobs.Fails(t, err), "gitlabjobs: save "+name)
		assert.LessOrEqual(t, d.Size, int64(room))
		assertFiles(t, dir)
	}
}

// A file that can't take more is an error, and leaves nothing. A limit on the
// sizes of files stands for the full disk, and a process of its own has it.
func TestSaveWithoutRoom(t *testing.T) {
	t.Parallel()
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSaveInAProcessWithoutRoom$")
	command.Env = append(os.Environ(), noRoomVariable+"="+t.TempDir())
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
}

func TestSaveWithoutPermission(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	server, requests := handle(t, func(w http.ResponseWriter, r *http.Request, n int) {})
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	_, err := saveArchive(t, downloadClient(t, server.URL), filepath.Join(dir, "archive.zip"), nil)
	require.ErrorIs(t, gitlabjobs.Fails(t, err), fs.ErrPermission)
	assert.Zero(t, requests.Load())
}
