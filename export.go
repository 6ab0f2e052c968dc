package lethe

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"time"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/domain/ledger"
	"github.com/lethe-ledger/lethe/eventstore"
	"github.com/lethe-ledger/lethe/keys"
)

// An export writes what is held about one person (GDPR Art. 15 and 20) as a zip:
// one NDJSON file a class, opened from the log, and a manifest with their hashes
// and row counts. The manifest comes last: a zip without one is not complete.
type export struct {
	lethe     *Lethe
	subject   keys.Subject
	obligated *keys.Subject
	files     []exportFile
	withheld  map[string]int // events that do not open, by outcome
}

type exportFile struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Rows   int    `json:"rows"`
}

type manifest struct {
	Ledger   string         `json:"ledger"`
	Exported string         `json:"exported"`
	Files    []exportFile   `json:"files"`
	Withheld map[string]int `json:"not_readable"` // events by outcome: erased, expired, denied
	Complete bool           `json:"complete"`
}

func (e *export) write(ctx context.Context, w io.Writer) error {
	z := zip.NewWriter(w)
	e.withheld = map[string]int{}
	for _, s := range e.subjects() {
		if err := e.writeSubject(ctx, z, s); err != nil {
			return err
		}
	}
	if err := e.writeManifest(z); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("finishing the export: %w", err)
	}
	return nil
}

func (e *export) subjects() []keys.Subject {
	if e.obligated == nil {
		return []keys.Subject{e.subject}
	}
	return []keys.Subject{e.subject, *e.obligated}
}

// writeSubject writes one file for each class; the streams come class by class.
func (e *export) writeSubject(ctx context.Context, z *zip.Writer, s keys.Subject) error {
	streams, err := e.lethe.ledger.StreamsOf(ctx, s.Ref, s.Scope)
	if err != nil {
		return err
	}
	byClass := map[domain.Class][]domain.Stream{}
	var order []domain.Class
	for _, stream := range streams {
		name, err := e.lethe.ledger.Streams().Parse(stream)
		if err != nil {
			return err
		}
		if byClass[name.Class] == nil {
			order = append(order, name.Class)
		}
		byClass[name.Class] = append(byClass[name.Class], stream)
	}
	for _, class := range order {
		if err := e.writeClass(ctx, z, class, byClass[class]); err != nil {
			return fmt.Errorf("exporting class %s: %w", class, err)
		}
	}
	return nil
}

func (e *export) writeClass(ctx context.Context, z *zip.Writer, class domain.Class, streams []domain.Stream) error {
	f := lineFile{zip: z, name: "data/" + string(class) + ".ndjson", sum: sha256.New()}
	for _, stream := range streams {
		for r, err := range e.lethe.store.ReadStream(ctx, stream, 0, eventstore.Forward, 0) {
			if err != nil {
				return err
			}
			if err := e.writeEvent(ctx, &f, r); err != nil {
				return err
			}
		}
	}
	if f.rows > 0 {
		e.files = append(e.files, exportFile{Name: f.name, SHA256: hex.EncodeToString(f.sum.Sum(nil)), Rows: f.rows})
	}
	return nil
}

// writeEvent writes the records of one event; what is gone is counted by how it
// went. An outage ends the export: it is never taken for a gap.
func (e *export) writeEvent(ctx context.Context, f *lineFile, r domain.Recorded) error {
	opened, err := e.lethe.ledger.Open(ctx, r)
	for _, gone := range []error{domain.ErrErased, domain.ErrExpired, domain.ErrDenied, domain.ErrHeld} {
		if errors.Is(err, gone) {
			e.withheld[gone.Error()]++
			return nil
		}
	}
	if err != nil {
		return err
	}
	for row := range rowsOf(opened) {
		if err := f.line(row); err != nil {
			return err
		}
	}
	return nil
}

// rowsOf yields one row for each record of an event.
func rowsOf(o ledger.Opened) func(func(map[string]any) bool) {
	base := func() map[string]any {
		row := map[string]any{"event": o.Type, "hour": o.Envelope.Hour, "class": o.Envelope.Class, "bucket": o.Envelope.Bucket}
		for _, name := range []string{"pool", "connection", "reason", "request", "purpose", "action"} {
			if v := o.Envelope.Facts.Text(name); v != "" {
				row[name] = v
			}
		}
		if o.Envelope.Late {
			row["late"] = true
		}
		return row
	}
	return func(yield func(map[string]any) bool) {
		if o.Traffic == nil {
			row := base()
			maps.Copy(row, o.Record)
			yield(row)
			return
		}
		for i := range o.Traffic.N {
			if !yield(message(base(), o.Traffic, i)) {
				return
			}
		}
	}
}

// message adds the columns of message i to a row.
func message(row map[string]any, t *domain.Traffic, i int) map[string]any {
	if t.At != nil {
		row["at"] = time.UnixMicro(t.At[i]).UTC().Format(time.RFC3339Nano)
	}
	if t.Directions != nil {
		row["direction"] = [...]string{"in", "out"}[t.Directions[i]]
	}
	if t.Opcodes != nil {
		row["opcode"] = [...]string{"text", "binary"}[t.Opcodes[i]]
	}
	if t.Sizes != nil {
		row["size"] = t.Sizes[i]
	}
	for _, f := range t.Fields {
		if f.Index[i] > 0 {
			row[f.Name] = f.Values[f.Index[i]-1]
		}
	}
	return row
}

func (e *export) writeManifest(z *zip.Writer) error {
	m := manifest{
		Ledger: string(e.lethe.cfg.Ledger), Exported: e.lethe.opt.Clock().UTC().Format(time.RFC3339),
		Files: e.files, Withheld: e.withheld, Complete: true,
	}
	if m.Files == nil {
		m.Files = []exportFile{}
	}
	f, err := z.Create("manifest.json")
	if err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	enc := json.NewEncoder(f)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	return nil
}

// A lineFile is one NDJSON file of a zip, begun with its first line.
type lineFile struct {
	zip  *zip.Writer
	name string
	w    io.Writer
	sum  hash.Hash
	rows int
}

func (f *lineFile) line(row map[string]any) error {
	if f.w == nil {
		w, err := f.zip.Create(f.name)
		if err != nil {
			return fmt.Errorf("beginning %s: %w", f.name, err)
		}
		f.w = io.MultiWriter(w, f.sum)
	}
	b, err := json.Marshal(row)
	if err != nil {
		return fmt.Errorf("encoding a row of %s: %w", f.name, err)
	}
	f.rows++
	if _, err := f.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("writing %s: %w", f.name, err)
	}
	return nil
}
