// Package seal turns events into sealed bytes and back (FORMAT §4 to §6). It is
// pure: it holds no key for longer than its caller does, reads no clock and
// reaches no network; all cryptography is the standard library's.
//
// An event opens only in its own place. Everything that says where it belongs is
// bound to it twice: the tag over the stored bytes, checked before any key is
// looked up, and the additional data of the cipher.
package seal
