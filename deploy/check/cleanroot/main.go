// Command cleanroot runs a Dockerfile's steps without a container engine, as root: the stages in directories, RUN in a chroot, COPY by the rules of .dockerignore. It
// reads the file with BuildKit's parser, so that what it proves is the Dockerfile and not a copy of it. An instruction that it cannot do is an error.
// deploy/clean-root.sh makes the base.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

func main() {
	file := flag.String("file", "deploy/Dockerfile", "the Dockerfile, below the build's context, which is the working directory")
	base := flag.String("base", "", "directory that stands for the image of the first stage; it is changed")
	out := flag.String("out", "", "directory of the last stage, made here")
	version := flag.String("version", "dev", "the build argument VERSION")
	cache := flag.String("cache", "", "directory for cache mounts, kept")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &build{args: map[string]string{"VERSION": *version}, base: *base, out: *out, cache: *cache, stages: map[string]string{}}
	if err := b.run(ctx, *file); err != nil {
		fmt.Fprintln(os.Stderr, "cleanroot:", err)
		stop()
		os.Exit(1)
	}
}

type build struct {
	args             map[string]string
	base, out, cache string
	stages           map[string]string // roots by name
}

// stage is one that is under way.
type stage struct {
	root, dir, user string
	env             map[string]string
	entrypoint      []string
}

// environment is what words of the Dockerfile are expanded with.
type environment map[string]string

func (e environment) Get(k string) (string, bool) { v, ok := e[k]; return v, ok }
func (e environment) Keys() (keys []string) {
	for k := range e {
		keys = append(keys, k)
	}
	return keys
}

func (b *build) run(ctx context.Context, file string) error {
	if b.base == "" || b.out == "" || b.cache == "" {
		return errors.New("give -base, -out and -cache")
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	parsed, err := parser.Parse(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	var last *stage
	for i, s := range stages {
		st := &stage{root: b.base, dir: "/", env: map[string]string{"PATH": "/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GOPATH": "/go", "HOME": "/root"}}
		if s.BaseName == "scratch" {
			st.root = b.out
			if err := os.Mkdir(st.root, 0o755); err != nil {
				return fmt.Errorf("begin stage %d: %w", i, err)
			}
		} else if i > 0 {
			return fmt.Errorf("stage %d is from %s: only the first may be from an image", i, s.BaseName)
		}
		fmt.Printf("FROM %s: %s\n", s.BaseName, st.root)
		b.stages[s.Name] = st.root
		for _, c := range s.Commands {
			if err := b.step(ctx, st, c); err != nil {
				return fmt.Errorf("%v: %w", c, err)
			}
		}
		last = st
	}
	return b.try(ctx, last)
}

func (b *build) step(ctx context.Context, st *stage, c instructions.Command) error {
	lex := shell.NewLex('\\')
	if e, ok := c.(interface {
		Expand(instructions.SingleWordExpander) error
	}); ok {
		if err := e.Expand(func(word string) (string, error) {
			w, _, err := lex.ProcessWord(word, environment(st.env))
			return w, err
		}); err != nil {
			return err
		}
	}
	fmt.Println(c)
	switch c := c.(type) {
	case *instructions.ArgCommand:
		for _, a := range c.Args {
			if v, ok := b.args[a.Key]; ok {
				st.env[a.Key] = v
			} else if a.Value != nil {
				st.env[a.Key] = *a.Value
			}
		}
	case *instructions.WorkdirCommand:
		st.dir = c.Path
		return os.MkdirAll(filepath.Join(st.root, c.Path), 0o755)
	case *instructions.CopyCommand:
		if len(c.SourcePaths) != 1 || c.Chown != "" || c.Chmod != "" {
			return errors.New("this COPY is not known here")
		}
		if c.From == "" {
			return copyContext(c.SourcePaths[0], filepath.Join(st.root, st.dir, c.DestPath))
		}
		from, ok := b.stages[c.From]
		if !ok {
			return fmt.Errorf("no stage %s", c.From)
		}
		return runHere(ctx, "cp", "-a", filepath.Join(from, c.SourcePaths[0])+"/.", filepath.Join(st.root, c.DestPath))
	case *instructions.RunCommand:
		return b.runStep(ctx, st, c)
	case *instructions.UserCommand:
		st.user = c.User
	case *instructions.EntrypointCommand:
		st.entrypoint = c.CmdLine
	case *instructions.LabelCommand, *instructions.ExposeCommand, *instructions.HealthCheckCommand: // of the image's description
	default:
		return fmt.Errorf("a %s is not known here", c.Name())
	}
	return nil
}

func runHere(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// copyContext copies the build's context as .dockerignore leaves it.
func copyContext(from, to string) error {
	f, err := os.Open(".dockerignore")
	if err != nil {
		return err
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		return fmt.Errorf("read .dockerignore: %w", err)
	}
	ignore, err := patternmatcher.New(patterns)
	if err != nil {
		return fmt.Errorf("read .dockerignore: %w", err)
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == from {
			return err
		}
		if skip := d.Name() == ".git" || d.Name() == "node_modules"; skip && d.IsDir() {
			return filepath.SkipDir // never in it, and large
		}
		out, err := ignore.MatchesOrParentMatches(path)
		if err != nil || out || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return copyFile(path, filepath.Join(to, path))
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// runStep runs a RUN in the stage's root, with nothing of this machine but processes, devices, the network and what is kept in caches.
func (b *build) runStep(ctx context.Context, st *stage, c *instructions.RunCommand) (err error) {
	binds := map[string]string{"/dev": "/dev"}
	for _, m := range instructions.GetMounts(c) {
		if m.Type != instructions.MountTypeCache {
			return fmt.Errorf("a mount of type %s is not known here", m.Type)
		}
		dir := filepath.Join(b.cache, strings.ReplaceAll(strings.Trim(m.Target, "/"), "/", "-"))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		binds[dir] = m.Target
	}
	for from, to := range binds {
		at := filepath.Join(st.root, to)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(from, at, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", to, err)
		}
		defer func() { err = errors.Join(err, syscall.Unmount(at, syscall.MNT_DETACH)) }()
	}
	proc := filepath.Join(st.root, "proc")
	if err := os.MkdirAll(proc, 0o555); err != nil {
		return err
	}
	if err := syscall.Mount("proc", proc, "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	defer func() { err = errors.Join(err, syscall.Unmount(proc, syscall.MNT_DETACH)) }()
	args := c.CmdLine
	if c.PrependShell {
		args = append([]string{"/bin/sh", "-c"}, strings.Join(c.CmdLine, " "))
	}
	return st.exec(ctx, nil, args...)
}

func (st *stage) exec(ctx context.Context, who *syscall.Credential, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0])
	cmd.Path, cmd.Args, cmd.Err = args[0], args, nil
	cmd.Dir = st.dir
	for k, v := range st.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	// What a build reaches the module proxy by is this machine's.
	for _, k := range []string{"GOPROXY", "GOSUMDB", "GOFLAGS", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"} {
		if v, ok := os.LookupEnv(k); ok {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: st.root, Credential: who, Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// try runs the finished image's entry point as its user, in a root that it cannot change.
func (b *build) try(ctx context.Context, st *stage) error {
	uid, gid, ok := strings.Cut(st.user, ":")
	u, err := strconv.Atoi(uid)
	g, err2 := strconv.Atoi(gid)
	if !ok || err != nil || err2 != nil || u == 0 || g == 0 {
		return fmt.Errorf("the image's user is %q, not two numbers above 0", st.user)
	}
	st.env, st.dir = map[string]string{}, "/"
	if err := syscall.Mount(st.root, st.root, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	defer func() { _ = syscall.Unmount(st.root, syscall.MNT_DETACH) }()
	if err := syscall.Mount("", st.root, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY|syscall.MS_NOSUID, ""); err != nil {
		return fmt.Errorf("make the root read-only: %w", err)
	}
	who := &syscall.Credential{Uid: uint32(u), Gid: uint32(g)}
	for _, args := range [][]string{{"version", "--json"}, {"config"}} {
		fmt.Printf("as %s: %v\n", st.user, args)
		if err := st.exec(ctx, who, append(append([]string{}, st.entrypoint...), args...)...); err != nil {
			return fmt.Errorf("run %v: %w", args, err)
		}
	}
	return nil
}
