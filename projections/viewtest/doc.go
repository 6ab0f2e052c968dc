// Package viewtest is the contract suite of engines of read models, and a log in
// memory to run it on. It is for tests only.
package viewtest
