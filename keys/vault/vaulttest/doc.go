// Package vaulttest runs a real Vault server on loopback for tests.
//
// The server is built from testdata/vaultserver, a module of its own, the first
// time that a test asks for it: some minutes of processor time, and once, because
// the program is kept in the user's cache under a hash of its sources. Where it
// cannot be built a test is skipped with the reason, and fails where the
// environment says CI=true.
package vaulttest
