package main

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

// An exported answers subject export.
type exported struct {
	File     string `json:"file"`
	Bytes    int64  `json:"bytes"`
	Files    int    `json:"files"`
	Complete bool   `json:"complete"`
}

func (p *program) subjectExport() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "export ID --out F.zip", Short: "Export what is held about a person", Args: cobra.ExactArgs(1),
		Long: "Export what is held about a person as a zip: a file for each class, and a manifest\nwith their hashes. The access is recorded before the first byte is written." + idHelp,
	}
	c.Flags().StringVar(&out, "out", "", "zip `FILE` to write; it must not exist")
	c.RunE = p.do(func(cmd *cobra.Command, args []string) error {
		if out == "" {
			return api.Usage("say where to: --out F.zip")
		}
		id, err := p.external(args[0])
		if err != nil {
			return err
		}
		if err := absent(out); err != nil {
			return err
		}
		return p.with(cmd, whyRequest, func(ctx context.Context, s api.Service, by api.Caller) error {
			result, err := p.exportTo(ctx, s, by, id, out)
			if err != nil {
				return err
			}
			return p.emit(result, pairs("file", result.File, "bytes", result.Bytes, "files", result.Files))
		})
	})
	return c
}

// absent refuses to write over a file.
func absent(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return api.Usage(path + " exists; name another file, or remove it")
	}
	return nil
}

// exportTo writes the export whole, or not at all.
func (p *program) exportTo(ctx context.Context, s api.Service, by api.Caller, id, path string) (result exported, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return result, fmt.Errorf("making the export: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	m := p.bytes("exporting")
	err = s.SubjectExport(ctx, by, id, m.writer(f))
	m.end()
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return result, err
	}
	return inspect(f, path)
}

var errIncomplete = errors.New("the export is not whole: its manifest is missing or says so; nothing was kept")

// inspect reads back what arrived: a zip whose manifest says complete.
func inspect(f *os.File, path string) (exported, error) {
	info, err := f.Stat()
	if err != nil {
		return exported{}, fmt.Errorf("reading the export back: %w", err)
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		return exported{}, fmt.Errorf("%w: %w", errIncomplete, err)
	}
	m, err := z.Open("manifest.json")
	if err != nil {
		return exported{}, errIncomplete
	}
	defer m.Close() //nolint:errcheck // only read
	var manifest struct {
		Complete bool `json:"complete"`
	}
	if err := json.NewDecoder(io.LimitReader(m, 16<<20)).Decode(&manifest); err != nil || !manifest.Complete {
		return exported{}, errIncomplete
	}
	return exported{File: path, Bytes: info.Size(), Files: len(z.File), Complete: true}, nil
}
