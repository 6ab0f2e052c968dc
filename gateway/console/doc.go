// Package console is what `lethe serve` shows when nothing is configured: a small
// chat to stand behind the gateway, and one page on the admin address on which the
// ledger can be watched living (ARCHITECTURE §8).
//
// The page is self-contained: it loads nothing from elsewhere, runs no inline
// script, and speaks only to the admin API it came from and to the gateway. It
// holds no secret; the token comes in the fragment of the URL that serve prints,
// which no browser sends.
//
// Both are for a trial on loopback. The chat believes whatever name it is given.
package console
