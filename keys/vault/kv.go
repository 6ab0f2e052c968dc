package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/lethe-ledger/lethe/domain"
)

// A store is the mount of documents: KV version 2, one version kept, and no
// write but by compare-and-set. Version 0 stands for a document that is not
// there.
type store struct {
	*client
	mount  string
	ledger domain.LedgerID
}

func (s store) at(what, path string) string {
	return s.mount + "/" + what + "/" + string(s.ledger) + "/" + path
}

// read decodes a document. Errors: errAbsent.
func (s store) read(ctx context.Context, path string, out any) (version uint64, err error) {
	answer := struct {
		Data     any `json:"data"`
		Metadata struct {
			Version uint64 `json:"version"`
		} `json:"metadata"`
	}{Data: out}
	if err := s.call(ctx, http.MethodGet, s.at("data", path), nil, nil, &answer); err != nil {
		return 0, err
	}
	return answer.Metadata.Version, nil
}

// write puts a document in the place of exactly one version. Errors:
// errConflict; after domain.ErrUnavailable nobody knows whether it was written,
// now or a moment later.
func (s store) write(ctx context.Context, path string, from uint64, data any) (version uint64, err error) {
	body := struct {
		Options map[string]uint64 `json:"options"`
		Data    any               `json:"data"`
	}{map[string]uint64{"cas": from}, data}
	var answer struct {
		Version uint64 `json:"version"`
	}
	if err := s.call(ctx, http.MethodPut, s.at("data", path), nil, body, &answer); err != nil {
		return 0, err
	}
	return answer.Version, nil
}

// forget removes a document with all that is known of it. That is no
// compare-and-set and its versions begin anew, so only what stands under a
// random name that is never used again may be forgotten.
func (s store) forget(ctx context.Context, path string) error {
	return s.call(ctx, http.MethodDelete, s.at("metadata", path), nil, nil, nil)
}

// outdated returns when Vault no longer has a version that was written over.
// Vault removes it with the write and only warns where that failed.
func (s store) outdated(ctx context.Context, path string, version uint64) error {
	if version == 0 {
		return nil
	}
	gone, err := s.lacks(ctx, path, version)
	if err != nil || gone {
		return err
	}
	body := map[string][]uint64{"versions": {version}}
	if err := s.call(ctx, http.MethodPut, s.at("destroy", path), nil, body, nil); err != nil {
		return inner(err)
	}
	if gone, err = s.lacks(ctx, path, version); err == nil && !gone {
		err = fmt.Errorf("vault still has an old version: %w", domain.ErrUnavailable)
	}
	return err
}

func (s store) lacks(ctx context.Context, path string, version uint64) (bool, error) {
	params := url.Values{"version": {strconv.FormatUint(version, 10)}}
	err := s.call(ctx, http.MethodGet, s.at("data", path), params, nil, nil)
	if errors.Is(err, errAbsent) {
		return true, nil
	}
	return false, err
}

// A layout is what initialising fixes for ever: how many documents the directory
// and the index of records are spread over.
type layout struct {
	Version   int    `json:"version"`
	ID        string `json:"id"`
	Directory uint32 `json:"directory"`
	Records   uint32 `json:"records"`
}

const (
	layoutPath    = "layout"
	layoutVersion = 1
)

// layout reads it. Errors: ErrSetup; errNoLayout where there is none.
func (s store) layout(ctx context.Context) (l layout, err error) {
	_, err = s.read(ctx, layoutPath, &l)
	switch {
	case errors.Is(err, errAbsent):
		return l, fmt.Errorf("ledger %s: %w", s.ledger, errNoLayout)
	case err != nil:
		return l, err
	case l.Version != layoutVersion || l.Directory == 0 || l.Records == 0 || l.ID == "":
		return l, fmt.Errorf("layout version %d: is this program older than its data? %w", l.Version, ErrSetup)
	}
	return l, nil
}

// known turns the absence of a document into domain.ErrNotFound, once Vault has
// shown that it still is the one that was initialised: behind a mount that was
// emptied everything is absent.
func (s store) known(ctx context.Context, first layout, err error) error {
	if !errors.Is(err, errAbsent) {
		return inner(err)
	}
	now, err := s.layout(ctx)
	if err != nil {
		return err
	}
	if now != first {
		return fmt.Errorf("the layout changed: %w", ErrSetup)
	}
	return domain.ErrNotFound
}

// strict decodes JSON that was put into a document as a text.
func strict(raw []byte, out any) error {
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%w: a record that cannot be read", ErrDamaged)
	}
	return nil
}
