// Package docs holds the project's pages and the tests that read them: what
// ARCHITECTURE.md says about imports, what INVARIANTS.md says about tests, and
// what README.md tells people to type are checked, not believed.
package docs
