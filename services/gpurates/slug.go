package gpurates

import (
	"strconv"
	"strings"

	"github.com/hashpivot/hashpivot/schemas/reference"
)

// models are the identities that we know. The table is a part of the program and tested with it.
var models = func() *reference.GPUModels {
	m, err := reference.LoadGPUModels()
	if err != nil {
		panic(err)
	}
	return m
}()

// identify names the model that a provider calls by a name; one that the table does not have gets a slug of its own.
func identify(provider, name string, memoryMiB uint32) string {
	if m, ok := models.ByName(provider, name, memoryMiB); ok {
		return m.ID
	}
	return GPUSlug(name, memoryMiB)
}

// identifySpec names the model of a provider's structured fields; one that the table does not have, or has twice, gets a slug of its own.
func identifySpec(model, form string, memoryMiB uint32) string {
	if m, ok := models.BySpec(model, form, memoryMiB); ok {
		return m.ID
	}
	return GPUSlug(strings.TrimSpace(model+" "+form), memoryMiB)
}

// maxSlug keeps a subject token short whatever a provider calls its card.
const maxSlug = 64

// usualGB is the memory of the common variant of models that come in several. That variant has no suffix; the others name their size: a
// modified RTX 4090 is "rtx-4090-48gb", an A100 of 40 GB "a100-pcie-40gb".
func usualGB(slug string) (int, bool) {
	switch slug {
	case "h100", "h100-sxm", "h100-pcie", "a100", "a100-sxm4", "a100-pcie", "a100x":
		return 80, true
	case "h100-nvl":
		return 94, true
	case "h200", "h200-nvl":
		return 141, true
	case "b200":
		return 180, true
	case "b300":
		return 288, true
	case "l40s", "l40", "a40", "rtx-a6000", "rtx-6000ada":
		return 48, true
	case "rtx-5090":
		return 32, true
	case "rtx-4090", "rtx-3090", "a10", "l4":
		return 24, true
	case "v100":
		return 16, true
	}
	return 0, false
}

// knownGB are the sizes that cards are sold with.
var knownGB = [...]int{4, 6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 141, 180, 192, 288}

// GPUSlug is the normalised name of a model: the maker's prefixes dropped, lower case, words joined by dashes, form factor kept apart
// ("h100-sxm" is not "h100-pcie"). A memory suffix tells variants apart where a model has several. memoryMiB is of one card as it reports
// it, 0 unknown.
func GPUSlug(name string, memoryMiB uint32) string {
	var b strings.Builder
	dash := false
	for _, r := range strings.ToLower(strings.TrimSpace(name)) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			if dash && b.Len() > 0 {
				b.WriteByte('-')
			}
			dash = false
			b.WriteRune(r)
		} else {
			dash = true
		}
		if b.Len() >= maxSlug {
			break
		}
	}
	slug := b.String()
	for _, prefix := range []string{"nvidia-", "tesla-", "geforce-"} {
		slug = strings.TrimPrefix(slug, prefix)
	}
	usual, known := usualGB(slug)
	if gb := snapGB(memoryMiB); known && gb != 0 && gb != usual {
		slug += "-" + strconv.Itoa(gb) + "gb"
	}
	return slug
}

// snapGB is the nominal size of a card that reports so much: cards report up to 7 % less, since some is kept for error correction. 0: none fits.
func snapGB(mib uint32) int {
	gib := float64(mib) / 1024
	best, gap := 0, 0.07
	for _, gb := range knownGB {
		d := gib/float64(gb) - 1
		if d < 0 {
			d = -d
		}
		if d <= gap {
			best, gap = gb, d
		}
	}
	return best
}
