package reference

import (
	"strings"
	"testing"
)

func models(t *testing.T) *GPUModels {
	t.Helper()
	m, err := LoadGPUModels()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestProvidersNamesOfModels(t *testing.T) {
	m := models(t)
	for _, c := range []struct {
		provider, name string
		mib            uint32
		want           string
	}{
		{"vast", "H100 SXM", 81559, "h100-sxm"}, {"vast", "H100_SXM", 0, "h100-sxm"}, {"vast", "H100 PCIE", 81559, "h100-pcie"}, {"vast", "H100 NVL", 95830, "h100-nvl"},
		{"vast", "A100 SXM4", 81920, "a100-sxm4"}, {"vast", "A100 SXM4", 40960, "a100-sxm4-40gb"}, {"vast", "A100 SXM4", 0, "a100-sxm4"},
		{"vast", "Tesla V100", 32768, "v100-32gb"}, {"vast", "RTX 4090", 49140, ""}, {"vast", "H100", 81559, ""}, {"vast", "B200", 183359, "b200"},
		{"runpod", "NVIDIA H100 80GB HBM3", 80 * 1024, "h100-sxm"}, {"runpod", "H100 SXM", 80 * 1024, "h100-sxm"}, {"runpod", "NVIDIA A100 80GB PCIe", 80 * 1024, "a100-pcie"},
		{"runpod", "NVIDIA H100 NVL", 94 * 1024, "h100-nvl"}, {"runpod", "unknown", 0, ""},
		{"lambda", "h100_sxm5", 0, "h100-sxm"}, {"lambda", "H100 (80 GB SXM5)", 0, "h100-sxm"}, {"lambda", "a100_sxm4", 0, "a100-sxm4-40gb"}, {"lambda", "a100_80gb_sxm4", 0, "a100-sxm4"},
	} {
		x, ok := m.ByName(c.provider, c.name, c.mib)
		if ok != (c.want != "") || ok && x.ID != c.want {
			t.Errorf("%s %q %d MiB: %+v, %v, want %q", c.provider, c.name, c.mib, x, ok, c.want)
		}
	}
}

// SXM, PCIe and NVL are kept apart, and what could be two models is none.
func TestStructuredNamesAreNeverGuessed(t *testing.T) {
	m := models(t)
	for _, c := range []struct {
		model, form string
		gib         uint32
		want        string
	}{
		{"H100", "sxm5", 80, "h100-sxm"}, {"h100", "SXM", 80, "h100-sxm"}, {"H100", "PCIe", 80, "h100-pcie"}, {"H100", "", 80, ""}, {"H100", "", 0, ""}, {"H100", "pcie", 94, ""},
		{"H100_NVL", "", 94, "h100-nvl"}, {"H100NVL", "nvl", 0, "h100-nvl"}, {"H100", "", 94, "h100-nvl"}, {"A100", "SXM4", 40, "a100-sxm4-40gb"}, {"A100", "sxm", 0, ""}, {"A100", "", 80, ""},
		{"B200", "", 0, "b200"}, {"L40S", "pcie", 48, "l40s"}, {"A6000", "pcie", 48, "rtx-a6000"}, {"rtx4090", "PCIe", 24, "rtx-4090"}, {"rtx4090", "", 48, ""},
		{"H200", "SXM5", 141, "h200"}, {"H200", "", 141, ""}, {"v100", "SXM2", 16, "v100"}, {"mystery", "sxm", 80, ""},
	} {
		x, ok := m.BySpec(c.model, c.form, c.gib*1024)
		if ok != (c.want != "") || ok && x.ID != c.want {
			t.Errorf("%s %s %d GiB: %+v, %v, want %q", c.model, c.form, c.gib, x, ok, c.want)
		}
	}
	if x, n, ok := m.AzureSize("Standard_ND96isr_H100_v5"); !ok || x.ID != "h100-sxm" || n != 8 {
		t.Errorf("Azure: %+v %d %v", x, n, ok)
	}
	if _, _, ok := m.AzureSize("Standard_D2s_v5"); ok {
		t.Error("a machine without GPUs is one with")
	}
}

// Every level has an identity: a key that is renamed in one file and not in the other would split a series.
func TestLevelsHaveIdentities(t *testing.T) {
	m := models(t)
	l, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range l.GPUs {
		if x, ok := m.ByName("vast", g.Name, g.MemoryMiB); !ok || x.ID != g.Key {
			t.Errorf("level %s: %+v, %v", g.Key, x, ok)
		}
	}
}

func TestRefusesTablesThatContradictThemselves(t *testing.T) {
	head := "at: 2026-01-01\nsources: {x: y}\ngpus:\n"
	for text, want := range map[string]string{
		"gpus: []": "at and sources",
		head + "  - {id: a b, vendor: v, model: m, memory_gib: 1}":                                                                                  "not of lower case",
		head + "  - {id: a, vendor: v, model: m, memory_gib: 1}\n  - {id: a, vendor: v, model: m, memory_gib: 1}":                                   "twice",
		head + "  - {id: a, vendor: v, model: m}":                                                                                                   "memory_gib",
		head + "  - {id: a, vendor: v, model: m, memory_gib: 1, form: round}":                                                                       "form",
		head + "  - {id: a, vendor: v, model: m, memory_gib: 8, names: {p: [N]}}\n  - {id: b, vendor: v, model: m, memory_gib: 8, names: {p: [n]}}": "both",
		head + "  - {id: a, vendor: v, model: m, memory_gib: 8, azure: {s: 1}}\n  - {id: b, vendor: v, model: m, memory_gib: 8, azure: {s: 1}}":     "twice",
		head + "  - {id: a, vendor: v, model: m, memory_gib: 8, color: red}":                                                                        "color",
	} {
		if _, err := parseGPUModels([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
