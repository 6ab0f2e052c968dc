package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/rs/zerolog"
	"golang.org/x/term"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// isTerminal reports whether a person reads, or writes, at the other end.
func isTerminal(stream any) bool {
	f, isFile := stream.(*os.File)
	return isFile && term.IsTerminal(int(f.Fd()))
}

// logger writes to standard error: for people, or JSON.
func (p *program) logger(level zerolog.Level, console bool) zerolog.Logger {
	var w io.Writer = p.err
	if console {
		w = zerolog.ConsoleWriter{Out: p.err, NoColor: os.Getenv("NO_COLOR") != "" || !isTerminal(p.err), TimeFormat: "15:04:05"}
	}
	return zerolog.New(zerolog.SyncWriter(w)).Level(level).With().Timestamp().Logger()
}

// emit writes a result: as JSON on one line, or as tables.
func (p *program) emit(v any, tables ...*sheet) error {
	if p.json {
		b, err := api.Encode(v)
		if err == nil {
			_, err = p.out.Write(b)
		}
		return err
	}
	for i, t := range tables {
		if i > 0 {
			if _, err := fmt.Fprintln(p.out); err != nil {
				return err
			}
		}
		if err := p.print(t); err != nil {
			return err
		}
	}
	return nil
}

// A sheet is a table to print, or a sentence where it has no rows.
type sheet struct {
	head  []string
	rows  [][]string
	empty string // instead of a table without rows
	after string // a line below
}

func newSheet(empty string, head ...string) *sheet { return &sheet{empty: empty, head: head} }

// pairs is a sheet of two columns without a head: name and value.
func pairs(values ...any) *sheet {
	s := &sheet{}
	for i := 0; i+1 < len(values); i += 2 {
		s.add(values[i], values[i+1])
	}
	return s
}

func (s *sheet) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = clean(cell(c))
	}
	s.rows = append(s.rows, row)
}

func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		if v == "" {
			return "-"
		}
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []string:
		return cell(strings.Join(v, ", "))
	}
	return fmt.Sprint(v)
}

// clean takes out what would steer a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func (p *program) print(s *sheet) error {
	if len(s.rows) == 0 {
		_, err := fmt.Fprintln(p.out, s.empty)
		return err
	}
	lines := render(s, isTerminal(p.out), isTerminal(p.out) && os.Getenv("NO_COLOR") == "")
	if s.after != "" {
		lines += "\n" + s.after
	}
	_, err := io.WriteString(p.out, lines+"\n")
	return err
}

// render draws a frame on a terminal, and aligned text for everything else.
func render(s *sheet, framed, coloured bool) string {
	t := table.NewWriter()
	t.SetStyle(styleOf(framed))
	t.SuppressTrailingSpaces()
	if len(s.head) > 0 {
		t.AppendHeader(rowOf(s.head, false))
	}
	for _, row := range s.rows {
		t.AppendRow(rowOf(row, coloured))
	}
	return t.Render()
}

func styleOf(framed bool) table.Style {
	style := table.StyleLight
	style.Format.Header = text.FormatUpper
	if framed {
		return style
	}
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	return style
}

func rowOf(cells []string, coloured bool) table.Row {
	row := make(table.Row, len(cells))
	for i, c := range cells {
		row[i] = c
		if coloured {
			row[i] = colour(c)
		}
	}
	return row
}

// colour marks the words that states have.
func colour(word string) string {
	const green, yellow, red, grey = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[90m"
	mark := ""
	switch word {
	case "present", "live", "active", "ready", "ok", "keys-destroyed", "disposed", "completed", "valid":
		mark = green
	case "due", "warning", "pending", "fenced", "restricted", "held", "withheld", "degraded":
		mark = yellow
	case "error", "sealed", "tampered", "unavailable", "not valid":
		mark = red
	case "erased", "expired", "unknown", "-":
		mark = grey
	default:
		return word
	}
	return mark + word + "\x1b[0m"
}
