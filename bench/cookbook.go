package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
)

// cookbook runs every query of docs/cookbook.md on the generated database and prints its time. It is started where the document is.
func cookbook(ctx context.Context, print func(figure)) (err error) {
	page, err := os.ReadFile("docs/cookbook.md")
	if err != nil {
		return fmt.Errorf("read the cookbook, from the project's root: %w", err)
	}
	q, err := openQueryDB(ctx, print)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.close(ctx)) }()
	for _, m := range regexp.MustCompile("(?ms)^(\\d+)\\. [^\n]*\n.*?^```sql\n(.*?)```").FindAllSubmatch(page, -1) {
		t, err := q.time(ctx, string(m[2]))
		if err != nil {
			return fmt.Errorf("question %s: %w", m[1], err)
		}
		t.print(print, "cookbook_"+string(m[1]), "", nil)
	}
	return nil
}
