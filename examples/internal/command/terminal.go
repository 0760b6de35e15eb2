package command

import (
	"io"
	"os"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"github.com/gitlabjobs/gitlabjobs"
)

// TerminalSize returns the columns and rows of w if it is a terminal that
// shows colours and moves a cursor, unless NO_COLOR or TERM=dumb ask for plain
// text. Any other writer that has a Size is taken for one.
func TerminalSize(w io.Writer) (columns, rows int, ok bool) {
	if sized, ok := w.(interface{ Size() (columns, rows int) }); ok {
		columns, rows = sized.Size()
		return columns, rows, true
	}
	file, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return 0, 0, false
	}
	columns, rows, err := term.GetSize(int(file.Fd()))
	return columns, rows, err == nil && columns > 0 && rows > 0
}

// Table returns a table for w: with borders on a terminal, else without.
func Table(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	if _, _, ok := TerminalSize(w); !ok {
		t.SetStyle(table.StyleDefault)
		t.Style().Options = table.OptionsNoBordersAndSeparators
		t.Style().Box.PaddingLeft = ""
		t.Style().Box.PaddingRight = "  "
	}
	t.Style().Format.Footer = text.FormatDefault
	t.SuppressTrailingSpaces()
	t.AppendHeader(header)
	return t
}

// Colour returns s in the colour of a status, for terminals.
func Colour(status gitlabjobs.Status, s string) string {
	const red, green, yellow, blue, grey = "31", "32", "33", "34", "90"
	code := grey
	switch status {
	case gitlabjobs.StatusSuccess:
		code = green
	case gitlabjobs.StatusFailed:
		code = red
	case gitlabjobs.StatusRunning:
		code = blue
	case gitlabjobs.StatusManual, gitlabjobs.StatusPending, gitlabjobs.StatusCanceling:
		code = yellow
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}
