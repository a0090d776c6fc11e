package api_test

import (
	"testing"

	"github.com/hashpivot/hashpivot/pkg/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }
