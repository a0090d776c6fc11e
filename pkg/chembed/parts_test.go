package chembed_test

import (
	"context"
	"testing"

	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

// TestMergedPartsKeepTheirSources: a merge is not synced; should the power go before the kernel has written it back, the parts that it was made of must still be
// there. libchdb comes with 0 s where ClickHouse has eight minutes.
func TestMergedPartsKeepTheirSources(t *testing.T) {
	conn := open(t, chembedtest.Shared(t))
	var value string
	if err := conn.QueryRow(context.Background(), "SELECT value FROM system.merge_tree_settings WHERE name = 'old_parts_lifetime'").Scan(&value); err != nil {
		t.Fatal(err)
	}
	if value != "480" {
		t.Errorf("old_parts_lifetime is %s s", value)
	}
}
