// Command sbom prints what a built hashpivot consists of, as a CycloneDX document: the Go modules that the binary itself says it holds, the packages of the page
// that is embedded in it, and the Debian packages that lie beside it in the image. The same input gives the same bytes: there is no time and no chance in it.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

func main() {
	binary := flag.String("binary", "", "the built program")
	version := flag.String("version", "", "its version")
	npm := flag.String("npm", "", "package-lock.json of the page that is embedded in it")
	debian := flag.String("debian", "", "file of lines: package version architecture")
	flag.Parse()
	if err := run(*binary, *version, *npm, *debian, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(binary, version, npm, debian string, out io.Writer) error {
	if binary == "" || version == "" {
		return errors.New("give -binary and -version")
	}
	sum, err := checksum(binary)
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("read what %s was built from: %w", binary, err)
	}
	parts := goModules(info)
	if npm != "" {
		more, err := npmPackages(npm)
		if err != nil {
			return err
		}
		parts = append(parts, more...)
	}
	if debian != "" {
		more, err := debianPackages(debian)
		if err != nil {
			return err
		}
		parts = append(parts, more...)
	}
	slices.SortFunc(parts, func(a, b cdx.Component) int { return cmp.Compare(a.PackageURL, b.PackageURL) })

	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &cdx.Component{
		BOMRef: "hashpivot", Type: cdx.ComponentTypeApplication, Name: "hashpivot", Version: version, PackageURL: "pkg:golang/" + info.Main.Path + "@" + version,
		Hashes:   &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}},
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}}
	bom.Components = &parts
	// The number is of the content, so that the same build has the same.
	text, err := json.Marshal(bom)
	if err != nil {
		return err
	}
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceURL, text).URN()
	return cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).Encode(bom)
}

func checksum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func goModules(info *debug.BuildInfo) []cdx.Component {
	version := strings.TrimPrefix(info.GoVersion, "go")
	parts := []cdx.Component{component("pkg:golang/std@"+version, "std", version)}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := component("pkg:golang/"+m.Path+"@"+m.Version, m.Path, m.Version)
		if b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(b) == sha256.Size {
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(b)}} // of the module's files, as go.sum has it
		}
		parts = append(parts, c)
	}
	return parts
}

func npmPackages(file string) ([]cdx.Component, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct {
			Version, Integrity, License string
			Dev, Link                   bool
		}
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	var parts []cdx.Component
	for where, p := range lock.Packages {
		i := strings.LastIndex(where, "node_modules/")
		if i < 0 || p.Dev || p.Link { // our own, tools, and links to our own
			continue
		}
		name := where[i+len("node_modules/"):]
		c := component("pkg:npm/"+strings.Replace(name, "@", "%40", 1)+"@"+p.Version, name, p.Version)
		if b, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(p.Integrity, "sha512-")); err == nil && len(b) > 0 {
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA512, Value: hex.EncodeToString(b)}}
		}
		if p.License != "" {
			c.Licenses = &cdx.Licenses{{License: &cdx.License{ID: p.License}}}
		}
		parts = append(parts, c)
	}
	return parts, nil
}

func debianPackages(file string) ([]cdx.Component, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var parts []cdx.Component
	sc := bufio.NewScanner(bytes.NewReader(text))
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) != 3 {
			return nil, fmt.Errorf("read %s: %q is not: package version architecture", file, sc.Text())
		}
		parts = append(parts, component("pkg:deb/debian/"+f[0]+"@"+f[1]+"?arch="+f[2], f[0], f[1]))
	}
	return parts, sc.Err()
}

func component(purl, name, version string) cdx.Component {
	c := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: name, Version: version, PackageURL: purl}
	if dir, base := path.Split(name); strings.HasPrefix(name, "@") {
		c.Group, c.Name = strings.TrimSuffix(dir, "/"), base
	}
	return c
}
