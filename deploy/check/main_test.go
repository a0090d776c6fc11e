package check

import (
	"io"
	"log/slog"
	"os"
	"testing"

	"github.com/sirupsen/logrus"
)

// What the libraries say in passing, of linked files and of variables that are missing, is not what fails a test.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	logrus.SetOutput(io.Discard)
	os.Exit(m.Run())
}
