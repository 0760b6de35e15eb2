package command

import (
	"io"
	"os"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"github.com/gitlabjobs/gitlabjobs"
)

// IsTerminal reports whether w shows colours and moves a cursor: a terminal,
// unless NO_COLOR or TERM=dumb ask for plain text.
func IsTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// TerminalSize returns the columns and rows of the terminal w.
func TerminalSize(w io.Writer) (columns, rows int) {
	const usualColumns, usualRows = 80, 24
	file, ok := w.(*os.File)
	if !ok {
		return usualColumns, usualRows
	}
	columns, rows, err := term.GetSize(int(file.Fd()))
	if err != nil || columns <= 0 || rows <= 0 {
		return usualColumns, usualRows
	}
	return columns, rows
}

// Table returns a table for w: with borders on a terminal, else without.
func Table(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	if !IsTerminal(w) {
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
