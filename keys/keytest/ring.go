package keytest

import "testing"

func testRing(t *testing.T, open Open) {}
