// Package keytest is the contract suite of custodians, and of the ring above
// them. Every custodian passes it whole; there are no options to leave a part
// out.
//
// It also holds Memory, a custodian without any durability for the tests of
// others, and Faulty, which makes calls fail in the two ways that matter: lost,
// and applied but unanswered.
package keytest
