package run

import (
	"os"
	"runtime/debug"
)

// gcPercent trades memory for speed: decoding makes short-lived garbage, and at Go's default of 100 a fifth of a catching-up lander's time
// goes into collecting it. Measured with bench -name landing: 10 to 15 % more rows a second for some 50 MiB.
const gcPercent = 200

// TuneGC sets the collector for a pipeline, unless the operator has by GOGC.
func TuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
