package store_test

import (
	"flag"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

func TestMain(m *testing.M) {
	// A check is fifteen inserts; -rapid.checks=n asks for more.
	if err := flag.Set("rapid.checks", "10"); err != nil {
		panic(err)
	}
	storetest.Main(m)
}
