package chembed_test

import (
	"testing"

	"github.com/hashpivot/hashpivot/pkg/chembed/chembedtest"
)

func TestMain(m *testing.M) { chembedtest.Main(m) }
