package esdbtest

// A Copy is the log as it stood at a moment: what a backup of a database is. It
// does not change.
type Copy struct{ log *ledger }

// Copy copies the log as all servers of the cluster have it.
func (s *Server) Copy() Copy { return Copy{s.cluster.shared.fork()} }

// PutBack stops the server, puts a copy in the place of the log, and starts it
// again: what was written since then is gone, its revisions and positions will be
// given again. The other servers of a cluster are stopped before.
func (s *Server) PutBack(c Copy) error {
	s.Stop()
	s.cluster.shared.become(c.log)
	return s.Restart()
}

// become makes a ledger what another one is.
func (l *ledger) become(o *ledger) {
	from := o.fork()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records, l.streams = from.records, from.streams
	l.gone, l.swept = from.gone, from.swept
	l.nextSeq, l.nextPosition, l.visible = from.nextSeq, from.nextPosition, from.visible
	l.held, l.recent = 0, recentIDs{}
	l.wake()
}
