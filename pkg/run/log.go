package run

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"
)

// LogConfig says how much is logged and in which form.
type LogConfig struct {
	Level  string `koanf:"level"`  // debug, info, warn or error
	Format string `koanf:"format"` // auto (human on a terminal, JSON otherwise), text or json
}

// DefaultLogConfig logs what an operator wants to see.
func DefaultLogConfig() LogConfig { return LogConfig{Level: "info", Format: "auto"} }

// SetLevel puts the configured level in force.
func (c LogConfig) SetLevel(level *slog.LevelVar) error {
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return Usage(fmt.Errorf("log.level: %q is not one of debug, info, warn, error", c.Level))
	}
	return nil
}

// NewLogger makes a logger that writes to w, and whose level may be changed while it is used.
func NewLogger(cfg LogConfig, w io.Writer) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	if err := cfg.SetLevel(level); err != nil {
		return nil, nil, err
	}
	human := cfg.Format == "text"
	f, isFile := w.(*os.File)
	tty := isFile && isatty.IsTerminal(f.Fd())
	switch cfg.Format {
	case "auto":
		human = tty
	case "text", "json":
	default:
		return nil, nil, Usage(fmt.Errorf("log.format: %q is not one of auto, text, json", cfg.Format))
	}
	if human {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly + ".000", NoColor: !tty})), level, nil
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})), level, nil
}
