package files

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashpivot/hashpivot/pkg/feed"
	"github.com/hashpivot/hashpivot/pkg/market"
)

// Run imports the files of the directory, and those that come into it, until ctx ends. A file that cannot be read is logged and tried again
// when it changes; the others go on.
func Run(ctx context.Context, cfg Config, deps feed.Deps) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	im, err := newImporter(ctx, deps, cfg.Options)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("start import from %s: %w", cfg.Dir, err)
	}
	err = im.watch(ctx, cfg)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 9*time.Second)
	defer cancel()
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, im.f.State(last, market.FeedStopped, ""), im.f.Flush(last))
}

func (im *importer) watch(ctx context.Context, cfg Config) error {
	seen, done := map[string]version{}, map[string]version{}
	readable := false
	tick := time.NewTicker(cfg.PollEvery)
	defer tick.Stop()
	for {
		list, err := filesOf(cfg.Dir)
		if err != nil && readable {
			if serr := im.f.State(ctx, market.FeedLost, err.Error()); serr != nil {
				return serr
			}
		}
		if err != nil {
			im.f.Logger().Warn("the directory of files cannot be read, will be tried again", "dir", cfg.Dir, "err", err)
		} else if !readable {
			if serr := im.f.State(ctx, market.FeedConnected, ""); serr != nil {
				return serr
			}
		}
		readable = err == nil
		now := map[string]version{}
		for _, path := range list {
			v, err := versionOf(path)
			if err != nil {
				continue // it went away
			}
			now[path] = v
			if seen[path] != v || done[path] == v {
				continue // still being written, perhaps; or brought in
			}
			before := im.p
			err = im.file(ctx, path)
			_, bad := errors.AsType[*badFile](err)
			if err == nil || bad {
				done[path] = v
			}
			switch p := im.p; {
			case ctx.Err() != nil:
				return nil
			case err != nil && !bad:
				im.f.Logger().Warn("file not imported, will be tried again", "file", nameOf(path), "err", err)
			case err != nil:
				im.f.Logger().Error("file not imported; it is tried again when it changes", "file", nameOf(path), "err", err)
			case p.Skipped == before.Skipped:
				im.f.Logger().Info("file imported", "file", nameOf(path), "rows", p.Rows-before.Rows, "published", p.Published-before.Published,
					"known", p.Known-before.Known, "rejected", p.Rejected-before.Rejected)
			}
		}
		seen = now
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
