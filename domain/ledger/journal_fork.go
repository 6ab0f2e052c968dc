package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lethe-ledger/lethe/domain"
	"github.com/lethe-ledger/lethe/eventstore"
)

var (
	// errWentBack: a line that was taken stands in the log no more.
	errWentBack = fmt.Errorf("the log's journal went back behind this process's: %w", domain.ErrForked)
	// ErrCustodianBehind says that the custodian's head misses lines that it had, or
	// must have by now: what the journal names is destroyed again first.
	ErrCustodianBehind = fmt.Errorf("the custodian was restored from an older copy, or an eraser died: nothing is opened or erased until what the journal names is destroyed again: %w", domain.ErrUnavailable)
)

// An aside is this process's own file where it contradicts the log. It is not
// written to until its lines stand behind the log's last one.
type aside struct {
	fork  Fork
	lines [][]byte // all of the file
	first int      // the first one that the log has otherwise
	// refused says why the lines cannot be taken: they are not this ledger's.
	refused error
	// stands is set once the log names all that the lines name, or the file was given
	// up.
	stands bool
}

// has reports whether the file's line before seq has a hash.
func (a *aside) has(seq uint64, hash string) bool {
	return a != nil && seq > 0 && seq <= uint64(len(a.lines)) && domain.HashJournalLine(a.lines[seq-1]).String() == hash
}

// Allowed reports domain.ErrForked while this process knows of a journal file with
// lines that the log does not have. It asks nobody.
func (j *Journal) Allowed() error {
	if stop := j.stopped.Load(); stop != nil {
		return *stop
	}
	return nil
}

// Check asks the custodian whether anything stops opening and erasing, with one
// read: domain.ErrForked, ErrCustodianBehind, domain.ErrUnavailable. A process asks
// before it destroys, and within each renewal of its lease: it sees a fork within
// LeaseTime, and its end with the next renewal.
func (j *Journal) Check(ctx context.Context) error {
	forked, err := j.look(ctx)
	if !forked {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.judge(ctx), err)
}

// unforked reports domain.ErrForked before an erasure begins or fences anything; what
// a restored custodian misses the journal brings about before it names anything.
func (l *Ledger) unforked(ctx context.Context) error {
	err := l.Journal.Check(ctx)
	if errors.Is(err, ErrCustodianBehind) && !errors.Is(err, domain.ErrForked) {
		return nil
	}
	return err
}

// look reads the head: whether there is anything to judge, and ErrCustodianBehind
// where it misses lines.
func (j *Journal) look(ctx context.Context) (forked bool, err error) {
	least := j.expects.least(j.Clock())
	h, _, err := j.head(ctx)
	if err != nil {
		return false, err
	}
	forked = len(h.Forked) > 0 || j.Allowed() != nil
	if j.expects.another(h.Restored) || h.Seq < least {
		j.Ring.Forget()
	}
	if h.Seq < least {
		return forked, ErrCustodianBehind
	}
	j.expects.saw(h.Seq)
	return forked, nil
}

// judge stops this process where a file has lines that the log does not have, or
// frees it, and brings the custodian's note of such files to what stands now.
func (j *Journal) judge(ctx context.Context) error {
	var forks []Fork
	err := j.changeHead(ctx, func(h *journalHead) (bool, error) {
		forks = j.missing(h.Forked)
		if a := j.aside; a != nil && !a.stands {
			forks = with(forks, a.fork)
		}
		changed := !slices.Equal(forks, h.Forked)
		h.Forked = forks
		return changed, nil
	})
	if err != nil {
		return err
	}
	if len(forks) == 0 {
		j.stopped.Store(nil)
		return nil
	}
	stop := forkedBy(forks)
	j.stopped.Store(&stop)
	return stop
}

// with adds a file unless it is named.
func with(forks []Fork, f Fork) []Fork {
	if len(forks) >= maxForks || slices.ContainsFunc(forks, f.same) {
		return forks
	}
	return append(forks, f)
}

func forkedBy(forks []Fork) error {
	var files []string
	for _, f := range forks {
		files = append(files, f.String())
	}
	return fmt.Errorf("%w: %w (%s): nothing is opened or erased until they stand in it; start the node that has that file, and run lethe keys restore-check there",
		domain.ErrUnavailable, domain.ErrForked, strings.Join(files, "; "))
}

// diverges compares the file's lines with the log's. A file that is longer, or says
// otherwise, forks the head before anything else is done; one whose lines do not
// follow the log's is set aside.
func (j *Journal) diverges(ctx context.Context, lines []storedLine, inFile [][]byte, public []ed25519.PublicKey) error {
	common := 0
	for common < min(len(lines), len(inFile)) && bytes.Equal(lines[common].raw, inFile[common]) {
		common++
	}
	if common == len(inFile) {
		return nil
	}
	refused := j.refuses(inFile, common, public)
	named := inFile[len(inFile)-1]
	if refused != nil { // and no chain leads to the last line
		named = bytes.Join(inFile, []byte{'\n'})
	}
	fork := Fork{Lines: uint64(len(inFile)), SHA256: domain.HashJournalLine(named).String()}
	if refused != nil || common < len(lines) {
		j.aside = &aside{fork: fork, lines: inFile, first: common, refused: refused}
		j.file.apart = true
	}
	stop := forkedBy([]Fork{fork})
	j.stopped.Store(&stop)
	return j.changeHead(ctx, func(h *journalHead) (bool, error) {
		before := len(h.Forked)
		if h.Forked = with(h.Forked, fork); len(h.Forked) == before {
			return false, nil
		}
		h.Back = domain.New[domain.CommandID]()
		return true, nil
	})
}

// refuses says why the file's lines from first on cannot be taken; the keys that
// they name are dead here at once, whatever becomes of them.
func (j *Journal) refuses(inFile [][]byte, first int, public []ed25519.PublicKey) error {
	chain := domain.JournalChain{Next: uint64(first)} //nolint:gosec // lines are counted from 0
	if first > 0 {
		chain.Prev = domain.HashJournalLine(inFile[first-1])
	}
	for _, raw := range inFile[first:] {
		line, err := chain.Add(raw)
		if err == nil {
			err = line.Verify(j.ID, public...)
		}
		if err != nil {
			return err
		}
		j.Dead.Add(line.Dead...)
	}
	return nil
}

// putBack puts a line that only the file has behind the log's last one. Another
// process may put the same lines back at the same time.
func (j *Journal) putBack(ctx context.Context, raw []byte) error {
	for range appendTries {
		id := domain.Event(domain.New[domain.CommandID](), firstLine)
		err := j.append(ctx, id, raw)
		var wrong *eventstore.WrongRevision
		switch {
		case errors.As(err, &wrong):
			if raw, id, err = j.stands(ctx, raw); err != nil {
				return err
			}
			if id.IsZero() {
				continue
			}
		case err != nil:
			return err
		}
		line, err := j.take(id, raw)
		if err == nil {
			j.opened = append(j.opened, line)
		}
		return err
	}
	return fmt.Errorf("the journal keeps moving: %w", domain.ErrConflict)
}

// stands finds who put a line back before.
func (j *Journal) stands(ctx context.Context, raw []byte) ([]byte, domain.EventID, error) {
	for r, err := range j.Log.ReadStream(ctx, j.stream, domain.Revision(j.chain.Next), eventstore.Forward, 1) { //nolint:gosec // lines are counted from 0
		if err != nil {
			return nil, domain.EventID{}, fmt.Errorf("reading the journal: %w", err)
		}
		other, err := j.document(r)
		if err == nil && !bytes.Equal(other, raw) {
			err = fmt.Errorf("line %d of the log is another one by now; start again: %w", j.chain.Next, domain.ErrForked)
		}
		return raw, r.ID(), err
	}
	return raw, domain.EventID{}, nil
}

// again opens the journal anew after the log went back under this process. Until it
// has returned nil once nothing is taken from the log.
func (j *Journal) again(ctx context.Context) error {
	j.unmended = true
	lines, err := j.readLog(ctx)
	if err != nil {
		return err
	}
	if err := j.file.reread(); err != nil {
		return err
	}
	j.chain, j.aside, j.opened = domain.JournalChain{}, nil, nil
	clear(j.named)
	if _, err := j.mend(ctx, lines); err != nil {
		return err
	}
	j.unmended = false
	return nil
}

// adopt writes what the own file names and the log does not as new lines behind the
// log's last one, and counts them.
func (j *Journal) adopt(ctx context.Context) (n int, err error) {
	if err := j.aside.refused; err != nil {
		return 0, fmt.Errorf("this node's journal file has lines that are not this ledger's (%w): put a whole copy of it in its place and start again, or let two principals give it up by lethe keys restore-check --lost %s", err, j.aside.fork.SHA256)
	}
	known := map[domain.Tag]bool{}
	lines, err := j.everyLine(ctx)
	if err != nil {
		return 0, err
	}
	for _, line := range lines {
		for _, t := range line.Dead {
			known[t] = true
		}
	}
	for _, raw := range j.aside.lines[j.aside.first:] {
		line, err := domain.DecodeJournalLine(raw)
		if err != nil {
			return n, err
		}
		dead := slices.DeleteFunc(line.Dead, func(t domain.Tag) bool { return known[t] })
		if len(dead) == 0 {
			continue
		}
		if _, err := j.line(ctx, domain.Event(domain.New[domain.CommandID](), firstLine), line.Kind, dead); err != nil {
			return n, err
		}
		n++
	}
	j.aside.stands = true
	return n, nil
}

// join makes the own file the log's again, once all that it names stands there. The
// other one stays beside it.
func (j *Journal) join(ctx context.Context) error {
	stored, err := j.readLog(ctx)
	if err != nil {
		return err
	}
	lines := make([][]byte, len(stored))
	for i, s := range stored {
		lines[i] = s.raw
	}
	if err := j.file.replace(lines, j.aside.fork.SHA256); err != nil {
		return err
	}
	j.aside = nil
	return nil
}

// Apart reports whether this process's file is set aside, so that it mirrors
// nothing.
func (j *Journal) Apart() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.apart
}
